"""What lies between one simulated process and one database: delays, cuts, hangs, lost answers, a frozen process."""

import asyncio
from dataclasses import dataclass, field
from random import Random

from gristmill.ports.errors import StoreUnavailableError
from tests.support.lines import READS, Line


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Server:
    """The state of a database as every process meets it."""

    name: str
    down: bool = False
    hangs: bool = False
    refuses_writes: bool = False


@dataclass
class Runs:
    """Whether a process runs; while it is frozen nothing of it moves."""

    going: asyncio.Event = field(default_factory=_set)


class SimulatedLine(Line):
    def __init__(self, server: Server, runs: Runs, random: Random) -> None:
        super().__init__(server.name)
        self._server = server
        self._runs = runs
        self._random = random
        self.loses = 0.0  # The share of answers that are lost.

    async def _way(self) -> None:
        delay = self._random.choice([0, 0, 0, 0.001, 0.02, 0.1])
        if delay:
            await asyncio.sleep(delay)
        if not self._runs.going.is_set():
            await self._runs.going.wait()

    async def before(self, name: str) -> None:
        await self._way()
        server = self._server
        while self.hangs or server.hangs:  # noqa: ASYNC110 - asked anew each time, as a socket is.
            await asyncio.sleep(0.5)
        if self.cut or server.down:
            raise StoreUnavailableError(self.name, "there is no connection", "Start it.")
        if server.refuses_writes and name not in READS:
            raise StoreUnavailableError(self.name, "the disk is full", "Free some space.")

    async def after(self, name: str) -> None:
        await self._way()
        if self.cut or self._server.down or self._random.random() < self.loses:
            raise StoreUnavailableError(self.name, "the answer was lost", "Ask again.")
