"""What failover tells: every switch, outage, return and catch-up, to logs and to whoever asks for the newest."""

from collections import deque
from collections.abc import Callable

import structlog

from gristmill.ports.clock import Clock
from gristmill.ports.failover import FailoverEvent, Happening

_log = structlog.get_logger(__name__)


class Teller:
    def __init__(self, clock: Clock, listeners: list[Callable[[FailoverEvent], None]]) -> None:
        self._clock = clock
        self._listeners = listeners
        self.newest: deque[FailoverEvent] = deque(maxlen=100)

    def tell(self, what: Happening, database: str, reason: str, *, seconds: float | None = None) -> None:
        event = FailoverEvent(self._clock.now(), what, database, reason, seconds)
        self.newest.append(event)
        is_bad = what in {Happening.DOWN, Happening.DISTRUSTED, Happening.SET_ASIDE}
        took = {} if seconds is None else {"seconds": round(seconds, 3)}
        (_log.warning if is_bad else _log.info)(what.value, database=database, reason=reason, **took)
        for listener in self._listeners:
            listener(event)
