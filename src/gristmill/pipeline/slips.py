"""Words one slip of the hand away from those of a query, for queries none of whose words is anywhere.

They are made from the query, not picked from a list of all words: so no database has to keep such a list, and all of
them answer alike.
"""

from collections.abc import Iterator
from itertools import chain

from gristmill.pipeline.stopwords import STOP_WORDS
from gristmill.pipeline.tokens import index_tokens, query_words

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
)
_SHORTEST, _LONGEST = 4, 24
_MOST_WORDS = 3


def slips(query: str) -> dict[str, str]:
    """Tokens to look for instead, each with the word it is of; of the longest words of the query.

    Two neighbouring letters change places, or a letter is another, is left out or put in.
    """
    found: dict[str, str] = {}
    for word in sorted(query_words(query), key=len, reverse=True)[:_MOST_WORDS]:
        for near in _near(word):
            for token in index_tokens(near):
                found.setdefault(token, near)
    return found


def _near(word: str) -> Iterator[str]:
    alphabet = next((each for each in _ALPHABETS if set(word) <= set(each)), None)
    if alphabet is None or not _SHORTEST <= len(word) <= _LONGEST:
        return
    seen = {word}
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    swapped = (left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1)
    changed = (left + letter + right[1:] for left, right in cuts if right for letter in alphabet)
    shortened = (left + right[1:] for left, right in cuts if right)
    lengthened = (left + letter + right for left, right in cuts for letter in alphabet)
    for near in chain(swapped, changed, shortened, lengthened):
        if near not in seen and near not in STOP_WORDS:
            seen.add(near)
            yield near
