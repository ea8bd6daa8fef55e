"""What one leg of a search proposes, before anybody has looked whether it may be shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Numbers in ascending order and their scores; higher is better."""

    numbers: Numbers
    scores: NDArray[np.float32] | Scores

    def __len__(self) -> int:
        return len(self.numbers)

    def best(self, count: int) -> "Candidates":
        """The best ``count``, and with them all that score like the last of these."""
        if count >= len(self):
            return self
        last = len(self) - count
        chosen = self.scores >= np.partition(self.scores, last)[last]
        return Candidates(self.numbers[chosen], self.scores[chosen])

    def among(self, allowed: Numbers) -> "Candidates":
        """Those whose numbers are among these, which ascend."""
        places = np.searchsorted(self.numbers, allowed)
        inside = places < len(self)
        places = places[inside]
        places = places[self.numbers[places] == allowed[inside]]
        return Candidates(self.numbers[places], self.scores[places])
