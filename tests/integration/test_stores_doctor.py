"""What the doctor says of two databases: each line with what, since when, why and one command."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.insights.stores import State, StoresStatus, StoreStatus
from gristmill.insights.stores_doctor import examine
from gristmill.ports.database import TunnelState
from gristmill.ports.replication import Acting, Missing, Owed, SetAside
from gristmill.ports.rows import Kind
from tests.support.clocks import START

NOW = START + timedelta(hours=1)
NOTHING = Owed(rows=0, set_aside=0)
ONE = StoreStatus("postgresql", State.SERVING, preferred=True, acting=True, owes=NOTHING)
TWO = StoreStatus("qdrant", State.STANDBY, owes=NOTHING)
CHOSEN = Acting(1, "postgresql", START, "host:1", "the first start")
LEFT = Acting(2, "qdrant", START, "host:1", "postgresql: no connection")


def owed(rows, minutes):
    return Owed(rows=rows, set_aside=0, oldest=NOW - timedelta(minutes=minutes))


async def found(*looks, acting=CHOSEN):
    left = [StoresStatus(look, acting) for look in looks]

    async def look():
        return left.pop(0)

    problems, _ = await examine(look, now=NOW, pause=0)
    assert not left
    return problems


async def test_two_that_are_well_are_no_problem():
    assert await found((ONE, TWO)) == []


async def test_rows_on_their_way_are_no_problem():
    assert await found((replace(ONE, owes=owed(7, 0.5)), TWO)) == []


@pytest.mark.parametrize("later", [7, 9])
async def test_owed_rows_that_do_not_become_fewer(later):
    (problem,) = await found(*((replace(ONE, owes=owed(rows, 2)), TWO) for rows in (7, later)))
    assert (problem.what, problem.command, problem.since) == (
        f"{later} rows that 'postgresql' owes 'qdrant' wait, and do not become fewer.",
        "gristmill stores reconcile",
        NOW - timedelta(minutes=2),
    )


async def test_catching_up_is_a_problem_once_it_takes_long():
    assert await found(*((replace(ONE, owes=owed(rows, 9)), TWO) for rows in (7, 6))) == []
    (problem,) = await found(*((replace(ONE, owes=owed(rows, 11)), TWO) for rows in (7, 6)))
    assert "'qdrant' has been catching up for long; 6 rows" in problem.what


async def test_a_database_that_is_down_since_it_was_left():
    down = StoreStatus("postgresql", State.DOWN, preferred=True, problem="no connection")
    serves = replace(TWO, state=State.SERVING, acting=True, owes=owed(5, 2))
    (problem,) = await found((down, serves), acting=LEFT)
    assert (problem.what, problem.since) == ("Database 'postgresql' is down.", START)
    assert problem.why == (
        "no connection. 'qdrant' serves alone. 5 rows are held by it alone until this one is back."
    )


async def test_a_standby_that_is_down_was_never_left():
    down = StoreStatus("qdrant", State.DOWN, problem="no connection")
    (problem,) = await found((ONE, down))
    assert (problem.since, problem.command) == (None, "gristmill stores status")


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("The password is wrong.", "gristmill config show"),
        ("It has schema 1. Bring it up to date with: gristmill db upgrade", "gristmill db upgrade"),
    ],
)
async def test_a_database_that_refuses_us_names_the_command(said, command):
    (problem,) = await found((replace(ONE, state=State.REFUSED, problem=said, owes=None), TWO))
    assert (problem.what, problem.command) == ("Database 'postgresql' cannot be used.", command)
    assert problem.why.startswith(said)


async def test_set_aside_rows():
    aside = SetAside(Kind.COLLECTION, "papers", "t", "another embedding")
    store = replace(ONE, owes=Owed(rows=0, set_aside=2), set_aside=[aside])
    (problem,) = await found((store, TWO))
    assert problem.what == "2 rows of 'postgresql' were set aside: 'qdrant' refuses them."
    assert "collection papers: another embedding" in problem.why
    assert problem.command == "gristmill stores reconcile --all"


@pytest.mark.parametrize(("ahead", "word"), [(5.1, "ahead of"), (-60.0, "behind")])
async def test_a_clock_that_is_off(ahead, word):
    (problem,) = await found((replace(ONE, clock_ahead_seconds=ahead), TWO))
    assert f"{abs(ahead):.1f} s {word} ours" in problem.what
    assert await found((replace(ONE, clock_ahead_seconds=4.9), TWO)) == []


async def test_a_tunnel_that_is_down():
    tunnel = TunnelState("bastion", up=False, since=START, problem="Its key is another one.")
    down = StoreStatus("postgresql", State.DOWN, preferred=True, problem="no connection", tunnel=tunnel)
    (_, problem) = await found((down, replace(TWO, acting=True)))
    assert (problem.what, problem.since) == ("The SSH tunnel through bastion is down.", START)
    assert await found((replace(ONE, tunnel=replace(tunnel, up=True)), TWO)) == []


async def test_serving_without_what_only_the_other_one_has():
    acting = replace(LEFT, missing=Missing(3, START))
    (problem,) = await found((replace(ONE, acting=False), replace(TWO, acting=True)), acting=acting)
    assert (problem.what, problem.since) == (
        "Database 'qdrant' serves without 3 rows that only the other one has.",
        START,
    )
