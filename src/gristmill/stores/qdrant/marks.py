"""Marks: what says, in the payload of a point, that its row is owed to another database.

``owed`` is the number the mark bears and ``owed_at`` when it was set; a row that the other database refused has
``aside`` and its reason instead. They are set by the write that changes the row, so that neither is there alone.
"""

from collections.abc import Mapping
from typing import Any

from gristmill.ports.clock import Clock
from gristmill.stores.qdrant.values import instant

OWED, OWED_AT, ASIDE, REASON = "owed", "owed_at", "aside", "aside_reason"
FIELDS = (OWED, OWED_AT, ASIDE, REASON)

Marks = dict[str, Any]


def marks_of(payload: Mapping[str, Any]) -> Marks:
    """The marks of a stored point, for a write that leaves them as they are."""
    return {name: payload[name] for name in FIELDS if name in payload}


class Numbers:
    """The numbers that the marks of this process bear: each is above every one it has read of the database's own.

    ``written``: whether marks were drawn since the database's number was raised last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen = 0
        self.written = False

    def saw(self, sequence: int) -> None:
        self._seen = max(self._seen, sequence)

    def marks(self) -> Marks:
        self.written = True
        return self.bearing(self._seen + 1)

    def bearing(self, number: int) -> Marks:
        return {OWED: number, OWED_AT: instant(self._clock.now())}
