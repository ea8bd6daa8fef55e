"""The worker's end of one pool process."""

import asyncio
import os
import pickle
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import psutil
import structlog

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.executors import verdicts, wire
from gristmill.executors.connection import Connection, ConnectionLostError
from gristmill.executors.watch import LimitWatch, has_ended
from gristmill.ports.executor import Broken, Call, Returned

_GOODBYE_SECONDS = 0.5  # From the end of its connection to its exit status.
_REAP_SECONDS = 10  # A killed process goes at once unless the kernel holds it, as a dead network disk can.
_FAILURE_BYTES = 1 << 17  # Holds the longest message and traceback a pool process sends.

# What is sent ahead of time: never so much that the kernel would not hold it, or we might wait for each other.
_AHEAD_SECONDS = 0.05
_MOST_AHEAD = 8
_AHEAD_BYTES = 8 << 10  # Of each.

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call returned, as it travelled."""

    key: str
    packed: memoryview

    def read(self) -> Returned | Broken:
        """Takes as long as the value is big, so it is left to whoever wants the value."""
        try:
            return Returned(self.key, pickle.loads(self.packed))  # noqa: S301  # Our own pool process wrote it.
        except Exception as error:  # noqa: BLE001  # Unpickling runs code of the value's classes.
            return Broken(self.key, verdicts.cannot_travel("The result", error))


class Calls(Protocol):
    """Where the calls for one process come from and their results go."""

    def take(self, *, ahead: bool = False) -> Call | None: ...

    def put(self, result: Reply | Broken) -> None: ...


@dataclass(slots=True)
class _Taken:
    """A call on its way: ``body`` until it is sent."""

    call: Call
    body: bytes | None


class PoolProcess:
    """Runs one call at a time, and dies with its whole process group.

    A call that costs the process its life leaves it not ``alive``; a cancelled call does too. Whoever has one
    must ``end`` it.
    """

    def __init__(self, popen: subprocess.Popen[bytes], connection: Connection, lifeline: int) -> None:
        self._popen = popen
        self._connection = connection
        self._lifeline: int | None = lifeline
        self._vitals = psutil.Process(popen.pid)
        self._verdict: Failure | None = None
        self._doomed = False
        self.calls = 0

    @property
    def alive(self) -> bool:
        """Whether it can take a call; it may have been killed from outside since the last one."""
        return not (self._doomed or has_ended(self.pid))

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.returncode

    async def wait_until_ready(self) -> None:
        """Raise ConnectionLostError when it ends first."""
        await self._connection.receive(_FAILURE_BYTES)

    async def work(self, calls: Calls, *, most: int, result_limit_bytes: int) -> None:
        """Run calls one after another until there are none, ``most`` were run in all, or one cost it its life.

        While calls are short the next ones are sent ahead of time, so that it never waits for us. Answers come in the
        order of the calls: each says that the next one has begun. What got no result did not begin.
        """
        taken: deque[_Taken] = deque()
        pace = _Pace()
        watch = LimitWatch(self._vitals, lambda: self._connection.has_news, self._stop)
        try:
            while not self._doomed:
                room = min(1 + pace.ahead, most - self.calls)
                self._take(calls, taken, room, result_limit_bytes)
                if not taken:
                    return
                watch.begin(taken[0].call)
                await self._send(taken)
                result = await self._result(taken[0].call, max(result_limit_bytes, _FAILURE_BYTES))
                if result is None:
                    return
                self.calls += 1
                taken.popleft()
                pace.step()
                calls.put(result)
        except BaseException:
            await self.end()
            raise
        finally:
            watch.end()

    async def end(self) -> None:
        """Kill the group and wait for the process; safe to call again."""
        self._kill()
        self._connection.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if not await _becomes_true(lambda: self._popen.poll() is not None, _REAP_SECONDS):
            log.warning("pool_process_does_not_die", pid=self.pid)

    def _take(self, calls: Calls, taken: deque[_Taken], room: int, result_limit_bytes: int) -> None:
        while len(taken) < room and (call := calls.take(ahead=bool(taken))) is not None:
            try:
                taken.append(_Taken(call, _pack(call, result_limit_bytes)))
            except Exception as error:  # noqa: BLE001  # Pickling runs code of the arguments' classes.
                calls.put(Broken(call.key, verdicts.cannot_travel("The call", error)))

    async def _send(self, taken: deque[_Taken]) -> None:
        """The first, whatever its size, and those after it that are small."""
        for each in taken:
            if each.body is None:
                continue
            if each is not taken[0] and len(each.body) > _AHEAD_BYTES:
                return
            body, each.body = each.body, None
            with suppress(ConnectionLostError):  # What came before it did is still to be read.
                await self._connection.send(wire.CALL, body)

    async def _result(self, call: Call, largest_bytes: int) -> Reply | Broken | None:
        """None when it did not begin."""
        try:
            kind, reply = await self._connection.receive(largest_bytes)
        except ConnectionLostError:
            return Broken(call.key, await self._why_it_ended())
        if kind == wire.WORN:
            (left_behind,) = wire.SIZE.unpack(reply)
            log.warning("pool_process_too_big", bytes=left_behind, item_memory_bytes=call.memory_limit_bytes)
            await self.end()
            return None
        if kind == wire.NO_MEMORY:
            await self.end()
            return Broken(call.key, verdicts.out_of_memory(call.memory_limit_bytes))
        if kind == wire.FAILED:
            category, message, trace = pickle.loads(reply)  # noqa: S301  # Our own pool process wrote it.
            log.debug("call_failed", key=call.key, category=category, traceback=trace)
            return Broken(call.key, Failure(FailureCategory(category), message))
        return Reply(call.key, reply)

    async def _why_it_ended(self) -> Failure:
        if self._verdict is None and not await _becomes_true(lambda: has_ended(self.pid), _GOODBYE_SECONDS):
            self._verdict = verdicts.disconnected()
        await self.end()
        return self._verdict or verdicts.crashed(self.returncode or 0)

    def _stop(self, verdict: Failure | None) -> None:
        self._verdict = verdict
        self._kill()
        self._connection.shut()

    def _kill(self) -> None:
        """Only before the process is reaped: after that its group's id may belong to somebody else."""
        self._doomed = True
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):  # Reaped by somebody else in this process.
                os.killpg(self.pid, signal.SIGKILL)


class _Pace:
    """How many calls are worth sending ahead of time, by how long the last ones took."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._seconds: float | None = None

    @property
    def ahead(self) -> int:
        if self._seconds is None:
            return 0
        return int(min(_MOST_AHEAD, _AHEAD_SECONDS / max(self._seconds, 1e-6)))

    def step(self) -> None:
        """A call has returned."""
        now = self._loop.time()
        took, self._last = now - self._last, now
        self._seconds = took if self._seconds is None else 0.75 * self._seconds + 0.25 * took


def _pack(call: Call, result_limit_bytes: int) -> bytes:
    limits = wire.LIMITS.pack(call.memory_limit_bytes, result_limit_bytes)
    return limits + pickle.dumps((call.function, call.arguments), protocol=pickle.HIGHEST_PROTOCOL)


async def _becomes_true(condition: Callable[[], bool], limit_seconds: float) -> bool:
    pause = 0.0005
    waited = 0.0
    while not condition():
        if waited >= limit_seconds:
            return False
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 2, 0.05)
    return True
