"""Texts of any number from few: real sentences put together anew, some words exchanged for others of the vocabulary."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_EXCHANGED = (
    0.3  # Share of the words that are drawn by their frequency, so that hardly any two texts are alike.
)


class Recombined:
    """Words keep the frequencies they have in the sources, which makes posting lists as uneven as real ones."""

    def __init__(self, sources: Sequence[str], *, seed: int) -> None:
        self.sentences = [sentence for text in sources for sentence in _sentences(text)]
        counted = Counter(word for sentence in self.sentences for word in sentence.split())
        self._words = list(counted)
        self._weights = list(accumulate(counted.values()))
        self._random = random.Random(seed)

    def text(self, words: int) -> str:
        """At least ``words`` words."""
        return self.told(words)[1]

    def told(self, words: int) -> tuple[int, str]:
        """The same, with the number of the sentence it begins with."""
        first = self._random.randrange(len(self.sentences))
        parts: list[str] = []
        number = first
        while len(parts) < words:
            parts += self._changed(self.sentences[number])
            number = self._random.randrange(len(self.sentences))
        return first, " ".join(parts)

    def _changed(self, sentence: str) -> Iterator[str]:
        words = sentence.split()
        drawn = self._random.choices(self._words, cum_weights=self._weights, k=len(words))
        for word, other in zip(words, drawn, strict=True):
            yield other if self._random.random() < _EXCHANGED else word


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE.split(" ".join(text.split())) if len(part.split()) > 3]
