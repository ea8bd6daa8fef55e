"""How the databases of an installation are told of: in their states, with what each holds alone."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.commands.stores import reconcile
from gristmill.insights import stores
from gristmill.insights.stores import Patience, State
from gristmill.ports.database import Health
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.replication import SetAside
from gristmill.ports.rows import Kind
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.memory import MemoryDatabase
from tests.contract import batches_contract_steps as batches
from tests.contract import replication_contract_steps as steps
from tests.support.clocks import ManualClock
from tests.support.lines import LinedDatabase

QUIET = FailoverOptions(reconcile_every=3_600, converge_at_close=0)
QUICK = Patience(probe=0.05, opening=0.2)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def two(clock):
    return [LinedDatabase(MemoryDatabase(clock, name=name)) for name in ("one", "two")]


async def look(two, clock):
    return await stores.status(two, clock=clock, patience=QUICK)


async def paired(two, clock, **changes):
    database = FailoverDatabase(*two, clock=clock, options=replace(QUIET, **changes), by="host:7")
    await database.open()
    return database


async def test_one_database_serves_and_owes_nobody(two, clock):
    found = await look(two[:1], clock)
    (one,) = found.databases
    assert (one.state, one.acting, one.preferred, one.owes) == (State.SERVING, True, True, None)
    assert (found.serves, found.acting.term) == (True, 0)


async def test_serving_and_standby_and_the_last_switch(two, clock):
    database = await paired(two, clock)
    await batches.submit(database, "a")
    await database.close()
    found = await look(two, clock)
    assert [each.state for each in found.databases] == [State.SERVING, State.STANDBY]
    assert (found.acting.database, found.acting.by, found.acting.reason) == (
        "one",
        "host:7",
        "the first start",
    )
    assert [each.owes.rows for each in found.databases] == [0, 0]


@pytest.mark.parametrize("how", ["cut", "hangs"])
async def test_what_one_holds_alone_is_counted_while_the_other_is_down_and_catches_up(two, clock, how):
    database = await paired(two, clock)
    setattr(two[0].line, how, True)
    if how == "hangs":
        database._pair.sides[0].went_down("it hangs")
    began = clock.now()
    await batches.submit(database, "a", "b")
    found = await look(two, clock)
    one, other = found.databases
    assert (one.state, one.owes, one.acting) == (State.DOWN, None, False)
    assert one.problem
    assert (other.state, other.acting, other.preferred) == (State.SERVING, True, False)
    assert (other.owes.rows, other.owes.oldest) == (3, began)
    setattr(two[0].line, how, False)
    found = await look(two, clock)
    assert [each.state for each in found.databases] == [State.CATCHING_UP, State.SERVING]
    await database.close()


async def test_missing_rows_of_a_database_that_serves_before_it_caught_up_are_told(two, clock):
    database = await paired(two, clock)
    two[1].line.cut = True
    await batches.submit(database, "a")
    two[0].line.cut, two[1].line.cut = True, False
    await database.batches.list_batches(limit=1)
    found = await look(two, clock)
    assert found.acting.database == "two"
    assert found.acting.missing is not None
    await database.close()


async def test_set_aside_rows_are_listed_with_their_reason(two, clock):
    database = await paired(two, clock)
    await batches.submit(database, "a")
    await database.owe_everything()
    (row,) = await steps.owed(two[0], Kind.RECORD)
    aside = SetAside(row.kind, row.key, row.token, "too large")
    await two[0].replication.set_aside([aside])
    (one, _) = (await look(two, clock)).databases
    assert (one.owes.set_aside, list(one.set_aside)) == (1, [aside])
    result = await reconcile(database)
    assert (result.done, list(result.set_aside)) == (False, [aside])
    assert (await reconcile(database, everything=True)).done
    await database.close()


async def test_a_database_that_refuses_us_is_told_with_the_reason(two, clock):
    async def refuses():
        raise ConfigurationError("It wants another password.")

    two[1].inner.open = refuses
    found = await look(two, clock)
    assert [each.state for each in found.databases] == [State.SERVING, State.REFUSED]
    assert found.databases[1].problem == "It wants another password."


async def test_neither_answers(two, clock):
    for each in two:
        each.line.cut = True
    found = await look(two, clock)
    assert not found.serves
    assert {each.state for each in found.databases} == {State.DOWN}


async def test_clock_of_a_database_is_compared_with_ours(two, clock):
    async def check():
        return Health("one", ok=True, latency_seconds=0.0, clock=clock.now() + timedelta(seconds=9))

    two[0].inner.check = check
    one, other = (await look(two, clock)).databases
    assert (one.clock_ahead_seconds, other.clock_ahead_seconds) == (9.0, None)


async def test_reconciling_moves_both_ways_and_says_how_much(two, clock):
    database = await paired(two, clock)
    two[0].line.cut = True
    await batches.submit(database, "a", "b")
    two[0].line.cut = False
    result = await reconcile(database, pause=0)
    assert result.done
    assert dict(result.moved) == {"one": 3, "two": 0}
    assert dict(result.left) == {"one": 0, "two": 0}
    await database.close()


async def test_reconciling_with_one_down_says_so_and_does_not_wait(two, clock):
    database = await paired(two, clock)
    two[1].line.cut = True
    await batches.submit(database, "a")
    result = await asyncio.wait_for(reconcile(database), 5)
    assert not result.done
    assert set(result.problems) == {"two"}
    assert dict(result.left) == {"one": 2, "two": None}
    await database.close()


async def test_reconciling_gives_up_when_nothing_moves_any_more(two, clock):
    """A document whose vectors are nowhere is withheld for ever."""
    database = await paired(two, clock)
    await steps.fill(database, clock.now())
    for each in two:
        each.inner.tables.vectors.clear()
    two[1].inner.tables.documents.clear()
    await database.owe_everything()
    result = await asyncio.wait_for(reconcile(database, pause=0), 10)
    assert not result.done
    assert result.left["one"] == 1
    await database.close()
