"""The worker's end of one pool process."""

import asyncio
import os
import pickle
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import structlog

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.executors import verdicts, wire
from gristmill.executors.connection import Connection, ConnectionLostError
from gristmill.executors.watch import LimitWatch, has_ended, resident_bytes
from gristmill.ports.executor import Broken, Call, Returned

_GOODBYE_SECONDS = 0.5  # From the end of its connection to its exit status.
_REAP_SECONDS = 10  # A killed process goes at once unless the kernel holds it, as a dead network disk can.
_FAILURE_BYTES = 1 << 17  # Holds the longest message and traceback a pool process sends.

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

    @property
    def resident_bytes(self) -> int:
        return resident_bytes(self._vitals)

    async def wait_until_ready(self) -> None:
        """Raise ConnectionLostError when it ends first."""
        await self._connection.receive(_FAILURE_BYTES)

    async def call(self, call: Call, result_limit_bytes: int) -> Reply | Broken:
        self.calls += 1
        try:
            body = _pack(call, result_limit_bytes)
        except Exception as error:  # noqa: BLE001  # Pickling runs code of the arguments' classes.
            return Broken(call.key, verdicts.cannot_travel("The call", error))
        try:
            kind, reply = await self._ask(call, body, max(result_limit_bytes, _FAILURE_BYTES))
        except ConnectionLostError:
            return Broken(call.key, await self._why_it_ended())
        except BaseException:
            await self.end()
            raise
        return await self._read(call, kind, reply)

    async def end(self) -> None:
        """Kill the group and wait for the process; safe to call again."""
        self._kill()
        self._connection.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if not await _becomes_true(lambda: self._popen.poll() is not None, _REAP_SECONDS):
            log.warning("pool_process_does_not_die", pid=self.pid)

    async def _ask(self, call: Call, body: bytes, largest_reply: int) -> tuple[bytes, memoryview]:
        watch = LimitWatch(call, self._vitals, self._stop)
        try:
            await self._connection.send(wire.CALL, body)
            return await self._connection.receive(largest_reply)
        finally:
            watch.end()

    async def _read(self, call: Call, kind: bytes, reply: memoryview) -> Reply | Broken:
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
