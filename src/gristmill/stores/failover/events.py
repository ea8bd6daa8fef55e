"""What failover tells: every switch, outage, return and catch-up, to logs and to whoever asks for the newest."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from gristmill.ports.clock import Clock

_log = structlog.get_logger(__name__)


class Happening(StrEnum):
    DOWN = "database_down"
    BACK = "database_back"
    SWITCHED = "database_switched"  # Another database serves now.
    DISTRUSTED = "database_returned_older"  # Other or older than it was: everything is owed to it again.
    CAUGHT_UP = "database_caught_up"
    SET_ASIDE = "row_set_aside"  # Refused for good by the other database.


@dataclass(frozen=True, slots=True)
class FailoverEvent:
    """``seconds`` is how long the outage or the catch-up took, where that is known."""

    at: datetime
    what: Happening
    database: str
    reason: str
    seconds: float | None = None


class Teller:
    def __init__(self, clock: Clock, listeners: list[Callable[[FailoverEvent], None]]) -> None:
        self._clock = clock
        self._listeners = listeners
        self.newest: deque[FailoverEvent] = deque(maxlen=100)

    def tell(self, what: Happening, database: str, reason: str, *, seconds: float | None = None) -> None:
        event = FailoverEvent(self._clock.now(), what, database, reason, seconds)
        self.newest.append(event)
        is_bad = what in {Happening.DOWN, Happening.DISTRUSTED, Happening.SET_ASIDE}
        (_log.warning if is_bad else _log.info)(
            what.value,
            database=database,
            reason=reason,
            seconds=None if seconds is None else round(seconds, 3),
        )
        for listener in self._listeners:
            listener(event)
