"""Calls that hang, crash, eat memory or misbehave, in real pool processes."""

import asyncio
import os
import select
import signal
import sys
import threading
import types

import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.executors.limits import ONE_THREAD_EACH
from gristmill.executors.local import LocalExecutor
from gristmill.ports.executor import Broken, Returned
from tests.contract.executor_calls import (
    MIB,
    OneWay,
    allocate_at_once,
    announce_and_hang,
    close_every_file,
    die_of,
    double,
    exit_with,
    fill_and_hold,
    fork_then_exit,
    give_back,
    give_back_a_lock,
    hold_the_interpreter_lock,
    keep,
    outlive,
    pid,
    print_a_lot,
    read_address_zero,
    read_everything,
    session_and_group,
    spin,
    start_a_program_and_exit,
    thread_settings,
    try_to_allocate,
)
from tests.contract.executor_contract import call, only_result, results


@pytest.fixture
async def executor():
    executor = LocalExecutor(2)
    yield executor
    await executor.close()


@pytest.fixture
async def lone():
    """One process, so that what happens to it is seen by the next call."""
    executor = LocalExecutor(1, result_limit_bytes=MIB)
    yield executor
    await executor.close()


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "announced"
    os.mkfifo(path)
    return path


def has_ended_within(process_id, seconds):
    """Zombies count as ended: in a container nobody may be there to reap an orphan."""
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("hang", [spin, hold_the_interpreter_lock])
async def test_a_call_that_hangs_is_stopped_and_names_limit_and_setting(executor, hang):
    found = await results(executor, [call("hangs", hang, seconds=0.3), call("good", double, 2)])
    assert found["good"] == Returned("good", 4)
    assert found["hangs"].failure.category is FailureCategory.TIMEOUT
    assert "0.3 s" in found["hangs"].failure.message
    assert "`item_timeout_seconds`" in found["hangs"].failure.message


@pytest.mark.parametrize(
    ("crash", "arguments", "evidence"),
    [
        (exit_with, (3,), "exit code 3"),
        (exit_with, (0,), "exit code 0"),
        (read_address_zero, (), "SIGSEGV"),
        (die_of, (signal.SIGABRT,), "SIGABRT"),
        (die_of, (signal.SIGKILL,), "machine runs out of memory"),
    ],
)
async def test_a_crash_costs_one_call_and_says_how_it_ended(lone, crash, arguments, evidence):
    found = await results(lone, [call("bad", crash, *arguments), call("good", double, 2)])
    assert found["good"] == Returned("good", 4)
    assert found["bad"].failure.category is FailureCategory.CRASHED
    assert evidence in found["bad"].failure.message


@pytest.mark.parametrize(
    ("eat", "arguments"),
    [(fill_and_hold, (300 * MIB,)), (allocate_at_once, (2_000 * MIB,)), (give_back, (2_000 * MIB,))],
)
async def test_a_call_that_eats_memory_is_stopped_and_names_limit_and_setting(lone, eat, arguments):
    found = await results(lone, [call("eats", eat, *arguments, memory=128 * MIB), call("good", double, 2)])
    assert found["good"] == Returned("good", 4)
    assert found["eats"].failure.category is FailureCategory.CRASHED
    assert "128 MiB" in found["eats"].failure.message
    assert "`item_memory_bytes`" in found["eats"].failure.message


async def test_an_allocation_far_beyond_the_limit_fails_before_it_takes_anything(lone):
    refused = await only_result(lone, call("a", try_to_allocate, 2_000 * MIB, memory=128 * MIB))
    assert refused == Returned("a", "refused")


async def test_memory_that_a_call_leaves_behind_is_not_held_against_the_next(lone):
    first = await only_result(lone, call("a", keep, 150 * MIB, memory=256 * MIB))
    second = await only_result(lone, call("b", keep, 150 * MIB, memory=256 * MIB))
    assert isinstance(second, Returned)
    assert second.value != first.value


async def test_what_a_call_prints_reaches_nobody_and_breaks_nothing(executor, capfd):
    assert await only_result(executor, call("a", print_a_lot, 100 * MIB)) == Returned("a", "printed")
    assert await only_result(executor, call("b", double, 2)) == Returned("b", 4)
    printed = capfd.readouterr()
    assert "xxx" not in printed.out + printed.err


async def test_a_call_has_no_input_to_wait_for(executor):
    assert await only_result(executor, call("a", read_everything)) == Returned("a", "")


async def test_programs_that_a_stopped_call_started_are_stopped_too(executor, fifo):
    stopped = asyncio.create_task(
        only_result(executor, call("a", announce_and_hang, str(fifo), "program", seconds=1))
    )
    program = int(await asyncio.to_thread(fifo.read_text))
    assert (await stopped).failure.category is FailureCategory.TIMEOUT
    assert has_ended_within(program, 1)


async def test_programs_that_a_crashed_call_started_are_stopped(executor, fifo):
    crashed = asyncio.create_task(only_result(executor, call("a", start_a_program_and_exit, str(fifo))))
    program = int(await asyncio.to_thread(fifo.read_text))
    assert "exit code 7" in (await crashed).failure.message
    assert has_ended_within(program, 1)


async def test_a_crash_is_seen_and_cleaned_up_when_a_fork_holds_the_connection(executor, fifo):
    crashed = asyncio.create_task(only_result(executor, call("a", fork_then_exit, str(fifo))))
    fork = int(await asyncio.to_thread(fifo.read_text))
    assert "exit code 7" in (await crashed).failure.message
    assert has_ended_within(fork, 1)


async def test_a_call_that_closes_the_connection_costs_itself_alone(lone):
    found = await results(lone, [call("bad", close_every_file), call("good", double, 2)])
    assert found["good"] == Returned("good", 4)
    assert found["bad"].failure.category is FailureCategory.CRASHED
    assert "connection" in found["bad"].failure.message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_sent_to_a_whole_service_leave_calls_running(executor, number):
    assert await only_result(executor, call("a", outlive, number)) == Returned("a", "alive")


@pytest.mark.parametrize(
    ("function", "arguments", "evidence"),
    [
        (give_back_a_lock, (), "The result (lock) cannot travel"),
        (give_back, (2 * MIB,), "The result takes 2 MiB and at most 1 MiB may travel"),
        (OneWay, (), "The result cannot travel between processes. ValueError: I do not come back."),
        (double, (threading.Lock(),), "The call cannot travel"),
        (lambda: 1, (), "The call cannot travel"),
    ],
)
async def test_what_cannot_travel_is_said_and_keeps_the_process(lone, function, arguments, evidence):
    before = await only_result(lone, call("before", pid))
    broken = await only_result(lone, call("a", function, *arguments))
    assert isinstance(broken, Broken)
    assert broken.failure.category is FailureCategory.INTERNAL
    assert evidence in broken.failure.message
    assert (await only_result(lone, call("after", pid))).value == before.value


async def test_large_arguments_and_results_travel_whole(executor):
    content = os.urandom(20 * MIB)
    assert await only_result(executor, call("a", bytes.upper, content)) == Returned("a", content.upper())


async def test_functions_are_found_where_the_worker_finds_them(executor, tmp_path, monkeypatch):
    (tmp_path / "price_rules.py").write_text("def triple(number):\n    return 3 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    import price_rules  # noqa: PLC0415  # Exists only now.

    assert await only_result(executor, call("a", price_rules.triple, 3)) == Returned("a", 9)


async def test_a_function_that_only_the_worker_has_is_said_to_be_missing(executor, monkeypatch):
    module = types.ModuleType("made_up_on_the_spot")
    exec("def triple(number): return 3 * number", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    broken = await only_result(executor, call("a", module.triple, 3))
    assert broken.failure.category is FailureCategory.INTERNAL
    assert "No module named 'made_up_on_the_spot'" in broken.failure.message


async def test_native_libraries_are_held_to_one_thread(executor):
    assert (await only_result(executor, call("a", thread_settings))).value == ONE_THREAD_EACH


async def test_a_pool_process_leads_a_session_of_its_own(executor):
    process, session, group = (await only_result(executor, call("a", session_and_group))).value
    assert session == process
    assert group == process
