"""The worker's eye on one running call: its time, its memory, and whether its process is still there."""

import asyncio
import os
from collections.abc import Callable

import psutil

from gristmill.domain.failures import Failure
from gristmill.executors import verdicts
from gristmill.ports.executor import Call

LOOK_EVERY_SECONDS = 0.05


def resident_bytes(process: psutil.Process) -> int:
    """All resident memory, shared pages included: what the machine would miss; 0 for a process that is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def has_ended(pid: int) -> bool:
    """Whether our child has ended; it stays a zombie, so that its process group's id stays its own."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # Somebody else in this process waits for every child.
        return True


class LimitWatch:
    """Calls ``stop`` once, with the verdict, when the call passes a limit; with None when its process ended.

    The end of a process usually shows as the end of its connection. Looking for it as well covers a forked
    child of it that holds the connection open.
    """

    def __init__(self, call: Call, process: psutil.Process, stop: Callable[[Failure | None], None]) -> None:
        self._call = call
        self._process = process
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + call.time_limit_seconds
        self._timer = self._look_later()

    def end(self) -> None:
        self._timer.cancel()

    def _look_later(self) -> asyncio.TimerHandle:
        return self._loop.call_at(min(self._loop.time() + LOOK_EVERY_SECONDS, self._deadline), self._look)

    def _look(self) -> None:
        if has_ended(self._process.pid):
            self._stop(None)
        elif resident_bytes(self._process) > self._call.memory_limit_bytes:
            self._stop(verdicts.out_of_memory(self._call.memory_limit_bytes))
        elif self._loop.time() >= self._deadline:
            self._stop(verdicts.timed_out(self._call.time_limit_seconds))
        else:
            self._timer = self._look_later()
