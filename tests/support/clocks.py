"""A clock that moves only when a test says so."""

from datetime import UTC, datetime, timedelta

# With microseconds that no coarser column can hold.
START = datetime(2024, 3, 1, 9, 30, 15, 123457, tzinfo=UTC)


class ManualClock:
    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float = 0.0, **parts: float) -> datetime:
        """Move on by ``seconds`` and any other parts of a timedelta; returns the new present."""
        self._now += timedelta(seconds=seconds, **parts)
        return self._now
