"""How answers are scored against judgements: plain functions of a ranking and the set of relevant ids."""

import math
import random
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from statistics import fmean


def ndcg(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable], *, at: int = 10) -> float:
    """Normalised discounted cumulative gain with gain 1 (Jaervelin and Kekaelaeinen 2002)."""
    gained = sum(
        1 / math.log2(rank + 1) for rank, each in enumerate(ranking[:at], start=1) if each in relevant
    )
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(at, len(relevant)) + 1))
    return gained / ideal


def recall(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable], *, at: int) -> float:
    return len(relevant & set(ranking[:at])) / len(relevant)


def by_best_chunk(sources: Iterable[str]) -> list[str]:
    """Documents in the order of their best chunk, from the documents of a ranking of chunks."""
    return list(dict.fromkeys(sources))


def interval_of_mean(
    differences: Sequence[float], *, draws: int = 2_000, seed: int = 1
) -> tuple[float, float]:
    """Bounds of the mean in 95 of 100 redraws of the questions (paired bootstrap).

    An interval around 0 says that other questions might as well have turned out the other way.
    """
    chosen = random.Random(seed)
    means = sorted(fmean(chosen.choices(differences, k=len(differences))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws) - 1]
