"""When pool processes start, whom they serve, when they are replaced, and that none is left behind."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from contextlib import aclosing, contextmanager, suppress

import psutil
import pytest

from gristmill.domain.failures import FailureCategory
from gristmill.executors import starting
from gristmill.executors.local import LocalExecutor
from gristmill.ports.executor import Returned
from tests.contract.executor_calls import (
    announce_and_hang,
    double,
    leave_a_mark_later,
    marks_in,
    pid,
)
from tests.contract.executor_contract import call, only_result, results
from tests.integration.test_local_executor import has_ended_within

WORKER = """
import asyncio, os, signal, sys
from gristmill.executors.local import LocalExecutor
from tests.contract.executor_contract import call, results
from tests.contract import executor_calls as functions

async def main(hang, announce, fork):
    executor = LocalExecutor(2)
    await results(executor, [call(key, functions.pid) for key in "ab"])
    if fork and os.fork() == 0:
        signal.pause()
    await results(executor, [call("hangs", functions.announce_and_hang, announce, hang)])

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def worker(hang, announce, fork=""):
    """A worker with one busy and one idle pool process; everything it leaves is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, hang, str(announce), fork],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    ) as process:
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "announced"
    os.mkfifo(path)
    return path


def children():
    """Of executors: other tests of this process may have started servers."""
    return [
        each for each in psutil.Process().children() if any("executors" in word for word in each.cmdline())
    ]


async def process_of(executor):
    return (await only_result(executor, call("pid", pid))).value


async def test_processes_start_with_the_calls_that_need_them():
    executor = LocalExecutor(3)
    assert children() == []
    await results(executor, [call("a", double, 1)])
    await results(executor, [call("b", double, 1)])
    assert len(children()) == 1
    await results(executor, [call(str(n), double, n) for n in range(3)])
    assert len(children()) == 3
    await executor.close()
    assert children() == []


async def test_a_process_is_kept_between_calls_and_replaced_after_its_share():
    executor = LocalExecutor(1, calls_per_process=3)
    served = [await process_of(executor) for _ in range(6)]
    assert len(set(served[:3])) == 1
    assert len(set(served[3:])) == 1
    assert served[0] != served[3]
    await executor.close()


async def test_a_process_that_was_killed_between_calls_costs_no_call():
    executor = LocalExecutor(1)
    idle = await process_of(executor)
    os.kill(idle, signal.SIGKILL)
    assert has_ended_within(idle, 1)
    assert await process_of(executor) != idle
    await executor.close()


async def test_runs_share_the_processes_in_turn(tmp_path):
    executor = LocalExecutor(1)
    long_run = executor.run([call(f"k{n}", leave_a_mark_later, str(tmp_path), f"k{n}") for n in range(200)])
    async with aclosing(long_run):
        await anext(long_run)
        short = await only_result(executor, call("short", marks_in, str(tmp_path)))
    assert short.value <= 12  # Those that were sent ahead of time, and as many as ran meanwhile.
    await executor.close()


async def test_closing_a_run_early_kills_what_runs(fifo):
    executor = LocalExecutor(2)
    run = executor.run([call("quick", double, 1), call("hangs", announce_and_hang, str(fifo), "spin")])
    await anext(run)
    hanging = int(await asyncio.to_thread(fifo.read_text))
    await run.aclose()
    assert not psutil.pid_exists(hanging)
    assert await only_result(executor, call("after", double, 2)) == Returned("after", 4)
    await executor.close()


async def test_cancelling_who_waits_for_a_run_kills_what_runs(fifo):
    executor = LocalExecutor(1)
    waiting = asyncio.create_task(only_result(executor, call("hangs", announce_and_hang, str(fifo), "spin")))
    hanging = int(await asyncio.to_thread(fifo.read_text))
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await executor.close()
    assert not psutil.pid_exists(hanging)


async def test_a_run_that_is_closed_early_leaves_other_runs_alone(fifo):
    executor = LocalExecutor(2)
    doomed = asyncio.create_task(only_result(executor, call("hangs", announce_and_hang, str(fifo), "spin")))
    await asyncio.to_thread(fifo.read_text)
    other = asyncio.create_task(results(executor, [call(str(n), double, n) for n in range(50)]))
    doomed.cancel()
    assert len(await other) == 50
    await executor.close()


async def test_closing_the_executor_ends_its_runs_with_an_error_and_its_processes(fifo):
    executor = LocalExecutor(2)
    waiting = asyncio.create_task(only_result(executor, call("hangs", announce_and_hang, str(fifo), "spin")))
    await asyncio.to_thread(fifo.read_text)
    await executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    assert children() == []


@pytest.mark.parametrize(
    ("python", "evidence"), [("/nowhere/python", "No such file"), ("/bin/false", "ended with status 1")]
)
async def test_when_no_process_can_be_started_every_call_says_so(python, evidence):
    executor = LocalExecutor(2, python=python, start_pauses_seconds=(0.0, 0.0))
    found = await results(executor, [call(str(n), double, n) for n in range(10)])
    assert len(found) == 10
    for broken in found.values():
        assert broken.failure.category is FailureCategory.INTERNAL
        assert "No pool process could be started" in broken.failure.message
        assert evidence in broken.failure.message
    await executor.close()


async def test_the_words_of_a_process_that_does_not_come_up_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    executor = LocalExecutor(1, start_pauses_seconds=())
    broken = await only_result(executor, call("a", double, 1))
    assert "ModuleNotFoundError" in broken.failure.message
    await executor.close()


class FullProcessTable:
    """Refuses to start the processes with the given numbers, as fork does when the table is full."""

    def __init__(self, refused):
        self._refused = refused
        self._asked = 0
        self._start = subprocess.Popen

    def __call__(self, *arguments, **options):
        self._asked += 1
        if self._asked in self._refused:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._start(*arguments, **options)


async def test_a_process_table_that_is_full_for_a_moment_costs_nothing(monkeypatch):
    monkeypatch.setattr(starting.subprocess, "Popen", FullProcessTable(refused={1, 2}))
    executor = LocalExecutor(1, start_pauses_seconds=(0.0, 0.0))
    assert await only_result(executor, call("a", double, 1)) == Returned("a", 2)
    await executor.close()


async def test_calls_go_to_the_processes_there_are_when_more_cannot_be_started(monkeypatch):
    monkeypatch.setattr(starting.subprocess, "Popen", FullProcessTable(refused=set(range(2, 10_000))))
    executor = LocalExecutor(2, start_pauses_seconds=(0.0,))
    await only_result(executor, call("first", double, 1))
    found = await results(executor, [call(str(n), double, n) for n in range(20)])
    assert found == {str(n): Returned(str(n), 2 * n) for n in range(20)}
    await executor.close()


@pytest.mark.parametrize("fork", ["", "with a fork that lives on"])
@pytest.mark.parametrize("hang", ["spin", "hold_the_interpreter_lock"])
def test_no_pool_process_outlives_a_killed_worker(fifo, hang, fork):
    with worker(hang, fifo, fork) as worker_pid:
        busy = int(fifo.read_text())
        pool = [
            child.pid for child in psutil.Process(worker_pid).children() if os.getsid(child.pid) == child.pid
        ]
        assert len(pool) == 2
        assert busy in pool
        os.kill(worker_pid, signal.SIGKILL)
        assert all(has_ended_within(process, 1) for process in pool)


def test_no_program_of_a_call_outlives_a_killed_worker(fifo):
    with worker("program", fifo) as worker_pid:
        program = int(fifo.read_text())
        os.kill(worker_pid, signal.SIGKILL)
        assert has_ended_within(program, 1)
