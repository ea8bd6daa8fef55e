"""Two databases as a process opens and closes them: what is an outage then, and what a backlog may take."""

import asyncio
import time
from dataclasses import replace

import pytest

from gristmill.commands.copying import copy
from gristmill.ports.database import Health
from gristmill.ports.errors import AllStoresUnavailableError, ConfigurationError, StoreUnavailableError
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.memory import MemoryDatabase
from tests.contract import batches_contract_steps as batches
from tests.contract import replication_contract_steps as steps
from tests.support.clocks import ManualClock
from tests.support.lines import LinedDatabase

QUICK = FailoverOptions(call_timeout=0.05, probe_timeout=0.05, open_timeout=60, reconcile_every=3_600)


class Refusing(MemoryDatabase):
    """As with a wrong password: it answers, and will not have us."""

    async def open(self) -> None:
        raise ConfigurationError(f"{self.name} refuses the password.")

    async def check(self) -> Health:
        return Health(self.name, ok=False, latency_seconds=0.0, problem="it refuses the password")


class SlowlyTold(ManualClock):
    """A clock that goes on by a second with every look."""

    def monotonic(self) -> float:
        self.advance(1)
        return super().monotonic()


@pytest.fixture
def clock():
    return ManualClock()


def lined(clock, kinds=(MemoryDatabase, MemoryDatabase)):
    names = ("one", "two")
    return [LinedDatabase(kind(clock, name=name)) for kind, name in zip(kinds, names, strict=True)]


@pytest.mark.parametrize("hanging", [0, 1])
async def test_a_database_that_hangs_at_the_start_holds_nothing_up_and_joins_later(clock, hanging):
    sides = lined(clock)
    sides[hanging].line.hangs = True
    database = FailoverDatabase(*sides, clock=clock, options=QUICK)
    began = time.monotonic()
    await database.open()
    assert time.monotonic() - began < 5
    await batches.submit(database, "a")
    assert database.status().databases[hanging].problem
    sides[hanging].line.hangs = False
    assert await database.reconcile()
    assert not database.status().databases[hanging].problem
    assert len(sides[hanging].inner.tables.records) == 1
    await database.close()


@pytest.mark.parametrize("refusing", [0, 1])
async def test_a_wrong_setting_of_either_database_is_raised_and_is_no_outage(clock, refusing):
    kinds = [MemoryDatabase, MemoryDatabase]
    kinds[refusing] = Refusing
    sides = lined(clock, kinds)
    sides[1 - refusing].line.hangs = True
    database = FailoverDatabase(*sides, clock=clock, options=QUICK)
    with pytest.raises(ConfigurationError, match=f"{sides[refusing].name} refuses the password"):
        await database.open()


async def test_both_down_at_the_start_is_said_of_both(clock):
    sides = lined(clock)
    for side in sides:
        side.line.cut = True
    with pytest.raises(AllStoresUnavailableError) as caught:
        await FailoverDatabase(*sides, clock=clock, options=QUICK).open()
    assert str(caught.value) == (
        "No database answers: 'one' (since before this started): the line is cut; 'two' (since before this started): "
        "the line is cut. Nothing acknowledged is lost. Start either of them; `gristmill stores status` shows how "
        "they are."
    )


async def filled(clock, count):
    one = MemoryDatabase(clock, name="one")
    await batches.submit(one, *(f"i{number}" for number in range(count)))
    return one


async def test_opening_waits_for_a_backlog_no_longer_than_it_may_and_closing_too(clock):
    one, two = await filled(clock, 9), MemoryDatabase(clock, name="two")
    options = replace(QUICK, page_rows=1, converge_at_open=3, converge_at_close=3)
    slow = SlowlyTold()
    database = FailoverDatabase(LinedDatabase(one), LinedDatabase(two), clock=slow, options=options)
    await database.open()
    owed = (await one.replication.count_owed()).rows
    assert 0 < owed < 10
    await database.close()
    assert 0 < (await one.replication.count_owed()).rows < owed


async def test_closing_brings_over_what_is_owed_when_both_are_there(clock):
    sides = lined(clock)
    database = FailoverDatabase(*sides, clock=clock, options=QUICK)
    await database.open()
    sides[1].line.cut = True
    await batches.submit(database, "a", "b")
    sides[1].line.cut = False
    await database.close()
    assert (await sides[0].inner.replication.count_owed()).rows == 3
    again = FailoverDatabase(*sides, clock=clock, options=replace(QUICK, converge_at_open=0))
    await again.open()
    assert (await sides[0].inner.replication.count_owed()).rows == 3
    await again.close()
    assert (await sides[0].inner.replication.count_owed()).rows == 0
    assert again.status().databases[1].received == 3


async def test_everything_is_owed_again_on_demand_and_heals_what_differs(clock):
    sides = lined(clock)
    database = FailoverDatabase(*sides, clock=clock, options=QUICK)
    await database.open()
    await batches.submit(database, "a", "b")
    one, two = (side.inner for side in sides)
    (lost, _) = await steps.everything(one), await steps.everything(two)
    two.tables.records.clear()
    await database.owe_everything()
    assert await database.reconcile()
    assert [row.token for row in await steps.everything(two)] == [row.token for row in lost]
    await database.close()


async def test_two_cycles_of_one_process_never_run_at_once(clock):
    sides = lined(clock)
    database = FailoverDatabase(*sides, clock=clock, options=QUICK)
    await database.open()
    sides[1].line.calls.clear()
    await database.reconcile()
    alone = len(sides[1].line.calls)
    sides[1].line.calls.clear()
    assert await asyncio.gather(database.reconcile(), database.reconcile()) == [True, True]
    half = len(sides[1].line.calls) // 2
    assert half == alone
    assert sides[1].line.calls[:half] == sides[1].line.calls[half:]
    await database.close()


async def half_copied(database, clock):
    whole = MemoryDatabase(clock, name="whole")
    await batches.submit(whole, "a", "b")
    lined_database = LinedDatabase(database)
    lined_database.line.cut_after = 8
    with pytest.raises(StoreUnavailableError):
        await copy(whole, lined_database, clock=clock, on_rows=lambda _kind, _rows: None)
    assert (await database.replication.standing()).acting.is_half_copied
    return whole


async def test_of_a_half_copied_database_and_a_whole_one_the_whole_one_serves_first(clock):
    one, two = lined(clock)
    whole = await half_copied(one.inner, clock)
    await copy(whole, two, clock=clock, on_rows=lambda _kind, _rows: None)
    database = FailoverDatabase(one, two, clock=clock, options=QUICK)
    await database.open()
    acting = database.status().acting
    assert (acting.term, acting.database, acting.missing) == (1, "two", None)
    assert await database.reconcile()
    assert (await one.replication.standing()).acting == acting
    await database.close()


async def test_a_half_copied_database_that_must_serve_alone_goes_on_saying_that_it_lacks_rows(clock):
    one, two = lined(clock)
    await half_copied(one.inner, clock)
    two.line.cut = True
    database = FailoverDatabase(one, two, clock=clock, options=QUICK)
    await database.open()
    acting = database.status().acting
    assert (acting.term, acting.database, acting.missing.rows) == (1, "one", None)
    two.line.cut = False
    assert await database.reconcile()
    assert database.status().acting.missing is None
    await database.close()
