"""The queries that search is timed with: a few words of real questions, and real questions in full."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench import cranfield, own_questions
from bench.context import Context
from bench.synthetic import AUTHORS, SHELVES
from gristmill.ports.documents import Vector
from gristmill.ports.embedder import Embedder

FEWEST_WORDS, MOST_WORDS = 2, 8
FILTERED_EVERY = 3


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)


def short(context: Context, count: int) -> list[Query]:
    """Different stretches of 2-8 words; a third filtered, in turns to a fifth of the documents and to one in 500."""
    texts = dict.fromkeys(_stretches(context))
    return [Query(text, _filters(number)) for number, text in zip(range(count), texts, strict=False)]


def long(context: Context, count: int) -> list[Query]:
    """Questions of Cranfield in full, 17 words on average."""
    return [Query(each.text) for each in cranfield.load(context.collection("cranfield")).queries[:count]]


def _stretches(context: Context) -> Iterator[str]:
    chosen = random.Random(3)
    _, own = own_questions.load()
    english = [each.text for each in long(context, 225)] + [
        each.text for each in own if each.group == "English"
    ]
    russian = [each.text for each in own if each.group == "Russian"]
    for number in range(10_000):
        words = chosen.choice(russian if number % 5 == 0 else english).split()
        length = chosen.randint(FEWEST_WORDS, MOST_WORDS)
        start = chosen.randint(0, max(0, len(words) - length))
        yield " ".join(words[start : start + length])


def _filters(number: int) -> dict[str, list[str]]:
    turn, rest = divmod(number, FILTERED_EVERY)
    if rest:
        return {}
    if turn % 2:
        return {"author": [f"author {turn % AUTHORS}"]}
    return {"shelf": [str(turn % SHELVES)]}


class Remembered:
    """An embedder that knows the vectors of its queries by heart: their embedding is not what is timed."""

    def __init__(self, embedder: Embedder, queries: Sequence[Query]) -> None:
        texts = [each.text for each in queries]
        self.identity = embedder.identity
        self._vectors = dict(zip(texts, embedder.embed(texts), strict=True))

    def embed(self, texts: Sequence[str]) -> Vector:
        return np.stack([self._vectors[text] for text in texts])

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._vectors[text]
        return vector
