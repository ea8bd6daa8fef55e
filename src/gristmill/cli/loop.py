"""The event loop of a command, and what SIGINT and SIGTERM do to it."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from gristmill.cli.output import say
from gristmill.cli.running import Interruption

GRACE_SECONDS = 10.0
_Value = TypeVar("_Value")


class Openable(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...


_Opened = TypeVar("_Opened", bound=Openable)


def run(opened: _Opened, work: Callable[[_Opened], Awaitable[_Value]]) -> _Value:
    """Open it, await the work, close it. Raises Interruption after a signal."""
    return asyncio.run(_guarded(opened, work))


async def _guarded(opened: _Opened, work: Callable[[_Opened], Awaitable[_Value]]) -> _Value:
    stop = _Stop(asyncio.current_task())
    with stop.listening():
        try:
            try:
                await opened.open()
                return await work(opened)
            finally:
                await opened.close()
        except asyncio.CancelledError:
            if stop.number is None:
                raise
            raise Interruption(stop.number) from None


class _Stop:
    """The first signal cancels the work; the second, or ten seconds, end the process where it stands.

    Nothing is lost by that: what was claimed is taken back from a process that is gone, and pool processes die
    with ours.
    """

    def __init__(self, task: "asyncio.Task[Any] | None") -> None:
        self._task = task
        self.number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            loop.add_signal_handler(number, self._receive, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _receive(self, number: int) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        say("Stopping; what is done is kept. The same signal again stops at once.")
        last = threading.Timer(GRACE_SECONDS, os._exit, [128 + number])
        last.daemon = True
        last.start()
        if self._task is not None:
            self._task.cancel()
