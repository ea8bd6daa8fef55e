"""Search tokens: words in one form, the same on every database, because databases index them as they are.

The index holds every word, stop words included; only a query leaves them out, and not when it has nothing
else. So "to be or not to be" finds what it says, and the rule is in one place. Scripts written without
spaces are not cut into words.
"""

import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import Stemmer

from gristmill.pipeline.stopwords import STOP_WORDS

_LONGEST = 64
_CACHED_WORDS = 200_000
_CACHED_LENGTH = 100  # Longer ones are data, and seldom come twice.

_MARKS = "\u0300-\u036f\u00ad\u200c\u200d"  # Accents written apart, soft hyphens: inside of words.
_HYPHENS = "\u2010\u2011-"
_UNIT = re.compile(
    r"(?<!\d[.,])\d+[.,]\d+(?![.,]?\d)"  # 3.5 and 3,5; dates, versions and lists have more parts.
    rf"|(?<![\w{_HYPHENS}])(?:[^\W\d_]+[{_HYPHENS}]\d+|\d+[{_HYPHENS}][^\W\d_]+)(?![\w{_HYPHENS}])"  # B-25
    rf"|[\w{_MARKS}]+"
)
_INVISIBLE = re.compile(r"[\u0300-\u036f\u00ad\u200c\u200d]")
_HYPHENATED = re.compile(f"[{_HYPHENS}]")
_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"([^\W\d_]+)(\d+)|(\d+)([^\W\d_]+)")
_DECIMAL = re.compile(r"(\d+)[.,](\d+)")
_stemmers = threading.local()  # A stemmer keeps its word inside and is not to be shared by threads.


class Unit(NamedTuple):
    """A stretch of text and every token that finds it."""

    start: int
    end: int
    tokens: tuple[str, ...]


def index_tokens(text: str) -> list[str]:
    """Return the tokens of all words of ``text``, in order.

    NFKC, case folded, Russian yo as e; Russian words have Russian stems, those in Latin letters English ones.
    A code of letters and digits counts as a whole and by its parts: B25, B-25 and "b 25" find each other.
    The number 3,5 is 3.5.
    """
    # No unit goes over white space, and most pieces between have come before.
    return list(chain.from_iterable(map(_pieces.__getitem__, text.split())))


def query_tokens(text: str) -> list[str]:
    """Return what to look for: each token once, without stop words unless there is nothing else."""
    found = _UNIT.findall(text)
    telling = [unit for unit in found if not STOP_WORDS.issuperset(_words(unit))]
    return list(dict.fromkeys(token for unit in telling or found for token in _tokens(unit)))


def query_words(text: str) -> list[str]:
    """Return the words of a query before stemming, each once, without stop words."""
    words = chain.from_iterable(map(_words, _UNIT.findall(text)))
    return [word for word in dict.fromkeys(words) if word not in STOP_WORDS]


def units(text: str) -> Iterator[Unit]:
    """Yield where the words of ``text`` stand, each with its tokens."""
    for match in _UNIT.finditer(text):
        yield Unit(match.start(), match.end(), _tokens(match[0]))


def _tokens(unit: str) -> tuple[str, ...]:
    return _cached_tokens(unit) if len(unit) <= _CACHED_LENGTH else _new_tokens(unit)


def _new_tokens(unit: str) -> tuple[str, ...]:
    words = _words(unit)
    tokens = [_stem(word) for word in words]
    if _HYPHENATED.search(unit):
        tokens.append("".join(words)[:_LONGEST])
    elif len(words) == 1 and (parts := _CODE.fullmatch(words[0])):
        tokens += [_stem(part) for part in parts.groups() if part]
    return tuple(tokens)


def _words(unit: str) -> list[str]:
    """Return the words of one unit in their normal form, before stemming."""
    if number := _DECIMAL.fullmatch(unit):
        return [f"{number[1]}.{number[2]}"[:_LONGEST]]
    folded = unicodedata.normalize("NFKC", unit).casefold().replace("\u0451", "\u0435")
    if not folded.isalnum():
        folded = _INVISIBLE.sub("", folded)
    return [word[:_LONGEST] for word in _WORD.findall(folded)]


def _stem(word: str) -> str:
    if not word.isalpha():
        return word
    if "\u0400" <= word[0] <= "\u04ff":
        return _stemmer("russian")(word)
    return _stemmer("english")(word) if word[0] < "\u0250" else word


def _stemmer(language: str) -> Callable[[str], str]:
    known: Callable[[str], str] | None = getattr(_stemmers, language, None)
    if known is None:
        known = Stemmer.Stemmer(language, 0).stemWord  # Its own cache is the slower one.
        setattr(_stemmers, language, known)
    return known


_cached_tokens = lru_cache(_CACHED_WORDS)(_new_tokens)


class _Pieces(dict[str, tuple[str, ...]]):
    """The tokens of stretches without white space; looking up in a dict takes a third of what an LRU cache takes.

    When it is full it starts anew. Two threads that miss at once both work the piece out, to the same end.
    """

    def __missing__(self, piece: str) -> tuple[str, ...]:
        tokens = tuple(chain.from_iterable(map(_tokens, _UNIT.findall(piece))))
        if len(piece) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[piece] = tokens
        return tokens


_pieces = _Pieces()
