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
    """Calls ``stop`` once, with the verdict, when the running call passes a limit; with None when its process ended.

    The end of a process usually shows as the end of its connection. Looking for it as well covers a forked
    child of it that holds the connection open. Nothing is judged while ``has_news``: the call may have returned, and
    what is seen may be the next one's.
    """

    def __init__(
        self,
        process: psutil.Process,
        has_news: Callable[[], bool],
        stop: Callable[[Failure | None], None],
    ) -> None:
        self._process = process
        self._has_news = has_news
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._call: Call | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Call) -> None:
        """From now on it is this one that runs."""
        self._call = call
        self._deadline = self._loop.time() + call.time_limit_seconds
        if self._timer is None or self._deadline < self._timer.when():
            self._look_later()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._call = None

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        until = self._loop.time() + LOOK_EVERY_SECONDS
        if self._deadline > self._loop.time():
            until = min(until, self._deadline)
        self._timer = self._loop.call_at(until, self._look)

    def _look(self) -> None:
        if (call := self._call) is None:
            return
        used_bytes = resident_bytes(self._process)
        ended = has_ended(self._process.pid)
        if self._has_news():
            self._look_later()
        elif ended:
            self._stop(None)
        elif used_bytes > call.memory_limit_bytes:
            self._stop(verdicts.out_of_memory(call.memory_limit_bytes))
        elif self._loop.time() >= self._deadline:
            self._stop(verdicts.timed_out(call.time_limit_seconds))
        else:
            self._look_later()
