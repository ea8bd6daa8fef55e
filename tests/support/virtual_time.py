"""An event loop whose time passes only while everybody waits, and clocks that follow it."""

import asyncio
import selectors
from datetime import datetime, timedelta

from tests.support.clocks import START


class _NothingOutside(selectors.SelectSelector):
    """Asks the kernel nothing: what a virtual loop waits for all happens inside it."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Seconds cost nothing. Work that waits for what can never come raises instead of waiting for ever."""

    def __init__(self) -> None:
        super().__init__(_NothingOutside())
        self._virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready:
            if not self._scheduled:
                raise RuntimeError("Everybody waits for somebody else.")
            self._virtual = max(self._virtual, self._scheduled[0].when())
        super()._run_once()


class VirtualClock:
    """``skew`` is by how many seconds the clock on the wall is wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew: float = 0.0) -> None:
        self._loop = loop
        self.skew = skew

    def now(self) -> datetime:
        return START + timedelta(seconds=round(self._loop.time() + self.skew, 6))

    def monotonic(self) -> float:
        return self._loop.time()
