"""Putting the text leg and the vector leg together."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

TEXT_WEIGHT = 0.7
VECTOR_WEIGHT = 0.3
RANK_CONSTANT = 60

Scored = Sequence[tuple[UUID, float]]


class Fusion(StrEnum):
    RELATIVE = "relative"
    RANK = "rank"


def relative_scores(leg: Scored) -> dict[UUID, float]:
    """Scale a leg's scores to 0..1 over its own hits (min-max); hits that all score alike get 1."""
    if not leg:
        return {}
    scores = [score for _, score in leg]
    low, high = min(scores), max(scores)
    if high == low:
        return dict.fromkeys((chunk for chunk, _ in leg), 1.0)
    return {chunk: (score - low) / (high - low) for chunk, score in leg}


def reciprocal_ranks(leg: Scored) -> dict[UUID, float]:
    """1 / (60 + rank), as in reciprocal rank fusion (Cormack, Clarke, Buettcher 2009)."""
    return {chunk: 1 / (RANK_CONSTANT + rank) for rank, (chunk, _) in enumerate(leg, start=1)}


def fuse(
    text: Scored,
    vector: Scored,
    *,
    fusion: Fusion = Fusion.RELATIVE,
    text_weight: float = TEXT_WEIGHT,
    vector_weight: float = VECTOR_WEIGHT,
) -> list[tuple[UUID, float]]:
    """Weighted sum of both legs by chunk, best first, ties by chunk id; legs are best first."""
    scale = relative_scores if fusion is Fusion.RELATIVE else reciprocal_ranks
    totals: dict[UUID, float] = {}
    for weight, scores in ((text_weight, scale(text)), (vector_weight, scale(vector))):
        for chunk, score in scores.items():
            totals[chunk] = totals.get(chunk, 0.0) + weight * score
    return sorted(totals.items(), key=_best_first)


def _best_first(entry: tuple[UUID, float]) -> tuple[float, str]:
    return -entry[1], str(entry[0])
