"""Short calls are sent to a pool process before it asks for them; what befalls one of them befalls no other."""

import asyncio
import time

import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.executors.local import LocalExecutor
from gristmill.ports.executor import Broken, Returned
from tests.contract.executor_calls import (
    MIB,
    count,
    die_of,
    double,
    doze,
    exit_with,
    fill_and_hold,
    fork_and_return,
    give_back,
    give_back_a_lock,
    keep,
    pid,
    spin,
)
from tests.contract.executor_contract import call, only_result, results
from tests.integration.test_local_executor import has_ended_within


@pytest.fixture
async def lone():
    executor = LocalExecutor(1)
    yield executor
    await executor.close()


def among(trouble, *, other=double):
    """Trouble between short calls, so that some were sent before it and some behind it."""
    before = [call(f"before {n}", other, n) for n in range(40)]
    return [*before, trouble, *(call(f"behind {n}", other, n) for n in range(40))]


@pytest.mark.parametrize("number_of_processes", [1, 2])
async def test_each_call_beside_crashing_ones_runs_once(tmp_path, number_of_processes):
    executor = LocalExecutor(number_of_processes)
    calls = [call(f"k{n}", count, str(tmp_path), f"k{n}") for n in range(150)]
    crashes = {30: (exit_with, 3), 31: (die_of, 9), 75: (exit_with, 0), 149: (die_of, 11)}
    for number, (function, argument) in crashes.items():
        calls[number] = call(f"k{number}", function, argument)
    found = await results(executor, calls)
    broken = {key for key, result in found.items() if isinstance(result, Broken)}
    assert broken == {f"k{number}" for number in crashes}
    assert {found[key].failure.category for key in broken} == {FailureCategory.CRASHED}
    for number in set(range(150)) - set(crashes):
        assert (tmp_path / f"k{number}").read_text() == "ran\n"
    await executor.close()


@pytest.mark.parametrize(
    ("trouble", "category"),
    [
        (call("bad", spin, seconds=0.3), FailureCategory.TIMEOUT),
        (call("bad", fill_and_hold, 300 * MIB, memory=128 * MIB), FailureCategory.CRASHED),
        (call("bad", exit_with, 1), FailureCategory.CRASHED),
        (call("bad", give_back_a_lock), FailureCategory.INTERNAL),
        (call("bad", double, give_back_a_lock()), FailureCategory.INTERNAL),
    ],
    ids=["time", "memory", "crash", "result", "arguments"],
)
async def test_trouble_is_charged_to_the_call_that_made_it(lone, trouble, category):
    found = await results(lone, among(trouble))
    assert found.pop("bad").failure.category is category
    assert len(found) == 80
    assert all(isinstance(result, Returned) for result in found.values())


async def test_the_time_of_a_call_begins_when_the_one_before_it_has_ended(lone):
    found = await results(lone, [call(str(n), doze, 0.03, seconds=1) for n in range(50)])
    assert {result.value for result in found.values()} == {b"z"}


async def test_a_worker_that_was_busy_charges_nobody_for_it(lone):
    """The call has returned long before its time was up; nobody came to see."""
    await only_result(lone, call("starts the process", double, 1))
    waiting = asyncio.create_task(only_result(lone, call("a", doze, 0.1, MIB, seconds=0.5)))
    await asyncio.sleep(0.05)
    time.sleep(1)  # noqa: ASYNC251 - nothing else of the worker runs meanwhile.
    assert await waiting == Returned("a", b"z" * MIB)


async def test_memory_left_behind_is_not_held_against_what_was_sent_ahead(lone):
    calls = [call(f"short {n}", pid, memory=256 * MIB) for n in range(40)]
    heavy = [call(f"heavy {n}", keep, 150 * MIB, memory=256 * MIB) for n in range(3)]
    found = await results(lone, [*calls[:20], *heavy, *calls[20:]])
    assert all(isinstance(result, Returned) for result in found.values())
    assert len({found[f"heavy {n}"].value for n in range(3)}) == 3


async def test_a_child_that_comes_back_from_a_call_answers_nothing(lone, tmp_path):
    """Its answers would be taken for those of the next calls."""
    fifo = tmp_path / "pid"
    fifo.touch()
    calls = among(call("forks", fork_and_return, str(fifo)))
    found = await results(lone, calls)
    served_by = (await only_result(lone, call("pid", pid))).value
    assert found.pop("forks").value == served_by
    assert {key: result.value for key, result in found.items()} == {
        each.key: 2 * each.arguments[0] for each in calls if each.key != "forks"
    }
    for _ in range(1000):
        if fifo.read_text():  # The child may be slower than its parent was.
            break
        await asyncio.sleep(0.01)
    assert has_ended_within(int(fifo.read_text()), 5)


async def test_large_calls_and_results_between_small_ones_do_not_wait_for_each_other(lone):
    """Neither end may wait until the other one reads while that one waits, too."""
    calls = [
        call(str(n), give_back, 3_000_000) if n % 3 else call(str(n), len, b"x" * 3_000_000)
        for n in range(30)
    ]
    async with asyncio.timeout(30):
        found = await results(lone, [call("first", double, 1), *calls])
    sizes = {
        result.value if isinstance(result.value, int) else len(result.value) for result in found.values()
    }
    assert sizes == {2, 3_000_000}


async def test_long_calls_are_not_sent_ahead():
    """They are left to the process that is free first."""
    executor = LocalExecutor(2)
    await results(executor, [call(f"start {n}", doze, 0.05) for n in range(4)])
    begun = time.monotonic()
    await results(executor, [call(str(n), doze, 0.4) for n in range(10)])
    assert time.monotonic() - begun < 3.4  # 2.0 when shared by two, 4.0 in one.
    await executor.close()
