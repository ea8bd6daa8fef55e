"""A clock that moves only when a test says so."""

from datetime import UTC, datetime, timedelta

# With microseconds that no coarser column can hold.
START = datetime(2024, 3, 1, 9, 30, 15, 123457, tzinfo=UTC)


class ManualClock:
    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float = 0.0, **parts: float) -> datetime:
        """Move on by ``seconds`` and any other parts of a timedelta; returns the new present."""
        passed = timedelta(seconds=seconds, **parts)
        self._monotonic += passed.total_seconds()
        return self.set_forward(passed)

    def monotonic(self) -> float:
        return self._monotonic

    def set_forward(self, by: timedelta) -> datetime:
        """Set the clock on the wall, back too, while no time passes."""
        self._now += by
        return self._now
