"""Two databases in memory, and processes that fail over between them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.memory import MemoryDatabase
from tests.support.clocks import ManualClock
from tests.support.lines import LinedDatabase
from tests.support.simulation import held

QUICK = FailoverOptions(call_timeout=0.05, probe_timeout=0.05, reconcile_every=3_600)


class Two:
    """Two memory databases, and processes that each have lines of their own to them."""

    def __init__(self, clock=None) -> None:
        self.clock = clock or ManualClock()
        self.one = MemoryDatabase(self.clock, name="one")
        self.two = MemoryDatabase(self.clock, name="two")
        self.opened: list[FailoverDatabase] = []

    async def process(self, *, clock=None, options=QUICK, **cut) -> FailoverDatabase:
        lined = [LinedDatabase(self.one), LinedDatabase(self.two)]
        for each in lined:
            each.line.cut = cut.get(each.name, False)
        database = FailoverDatabase(*lined, clock=clock or self.clock, options=options)
        database.lines = {each.name: each.line for each in lined}
        await database.open()
        self.opened.append(database)
        return database

    def acting(self) -> set[str]:
        return {each.tables.acting.database for each in (self.one, self.two)}

    def assert_equal(self) -> None:
        assert held(self.one.tables) == held(self.two.tables)
        assert not self.one.tables.marks
        assert not self.two.tables.marks


@asynccontextmanager
async def two_memories() -> AsyncIterator[Two]:
    made = Two()
    yield made
    for database in made.opened:
        await database.close()
