"""How often and how late an item is tried again."""

import hashlib
from dataclasses import dataclass

_LARGEST_EXPONENT = 300  # Far beyond any longest delay; a larger one overflows.


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    The jitter (half to all of the step) comes from the record's id, so that every process computes the same
    time and a thousand records that failed together do not come back together.
    """

    max_retries: int = 3
    first_delay_seconds: float = 2.0
    factor: float = 4.0
    longest_delay_seconds: float = 600.0
    snooze_seconds: float = 30.0

    @property
    def max_attempts(self) -> int:
        return self.max_retries + 1

    def delay_seconds(self, attempts: int, *, seed: str) -> float:
        """Seconds to wait after ``attempts`` failed attempts (1 or more)."""
        exponent = min(max(0, attempts - 1), _LARGEST_EXPONENT)
        step = min(self.longest_delay_seconds, self.first_delay_seconds * self.factor**exponent)
        digest = hashlib.sha256(f"{seed}:{attempts}".encode()).digest()
        return step * (0.5 + int.from_bytes(digest[:4]) / 2**33)
