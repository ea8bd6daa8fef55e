"""BM25 as the port defines it, exactly, from an index that can only hold a part of it.

A chunk's sparse vector holds the weights its terms have at the mean length the index was begun with; the query's
holds the idf of today. Qdrant's sum is then the score but for the mean length, and the two differ at most by the
ratio of the means. So candidates are taken from Qdrant until none of the rest can reach the ones chosen, and
these are scored anew.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gristmill.stores.qdrant.points import Payload

K1 = 1.2
B = 0.75

_ROUNDING = 1.0001  # Qdrant adds float32.


def weight(count: int, length: int, mean_length: float) -> float:
    """A term's part of the score without its idf."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / mean_length))


@dataclass(frozen=True, slots=True)
class Bm25:
    """``idf`` of each term that is asked; lengths in tokens."""

    idf: Mapping[int, float]
    mean_length: float
    index_mean_length: float

    @classmethod
    def of(cls, holding: Mapping[int, int], lengths: Mapping[int, int], index_mean_length: float) -> "Bm25":
        """``holding``: chunks that hold each term; ``lengths``: chunks of each length."""
        # The two are counted one after the other; no term is held by more chunks than there are.
        chunks = max([sum(lengths.values()), *holding.values()])
        return cls(
            idf={
                term: math.log(1 + (chunks - count + 0.5) / (count + 0.5))
                for term, count in holding.items()
                if count
            },
            mean_length=sum(length * count for length, count in lengths.items()) / max(1, chunks),
            index_mean_length=index_mean_length,
        )

    def score(self, chunk: Payload) -> float:
        counts = dict(zip(chunk["terms"], chunk["counts"], strict=True))
        return sum(
            idf * weight(counts[term], chunk["length"], self.mean_length)
            for term, idf in self.idf.items()
            if term in counts
        )

    def most(self, index_score: float) -> float:
        """The highest score that a chunk can have which Qdrant gives this one."""
        return index_score * max(1.0, self.mean_length / self.index_mean_length) * _ROUNDING
