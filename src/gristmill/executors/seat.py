"""A place for one pool process, which it keeps fit for the next call."""

import asyncio
from collections.abc import Sequence

import structlog

from gristmill.executors.process import PoolProcess, Reply
from gristmill.executors.starting import ProcessStartError, start_process
from gristmill.executors.watch import LOOK_EVERY_SECONDS
from gristmill.ports.executor import Broken, Call

log = structlog.get_logger(__name__)


class Seat:
    """Runs one call at a time, in a process started when first needed and replaced when it broke or wore out."""

    def __init__(
        self,
        *,
        python: str,
        calls_per_process: int,
        result_limit_bytes: int,
        start_pauses_seconds: Sequence[float],
    ) -> None:
        self._python = python
        self._calls_per_process = calls_per_process
        self._result_limit_bytes = result_limit_bytes
        self._start_pauses_seconds = start_pauses_seconds
        self._process: PoolProcess | None = None
        self._looked_at = 0.0

    @property
    def taken(self) -> bool:
        return self._process is not None and self._process.alive

    async def run(self, call: Call) -> Reply | Broken:
        """Run the call; cancelling kills it. Raises ProcessStartError when no process can be started."""
        if self._process is None or not self._process.alive:
            await self.close()
            self._process = await self._start()
        try:
            return await self._process.call(call, self._result_limit_bytes)
        finally:
            await self._replace_unless_fit(self._process, call.memory_limit_bytes)

    async def close(self) -> None:
        if self._process is not None:
            await self._process.end()
            self._process = None

    async def _start(self) -> PoolProcess:
        """Try again for a while: a full process table or short memory often passes."""
        for pause in self._start_pauses_seconds:
            try:
                return await start_process(self._python)
            except ProcessStartError as error:
                log.warning("pool_process_not_started", reason=str(error), next_try_in_seconds=pause)
                await asyncio.sleep(pause)
        return await start_process(self._python)

    async def _replace_unless_fit(self, process: PoolProcess, memory_limit_bytes: int) -> None:
        too_big = process.alive and self._is_too_big(process, memory_limit_bytes)
        if too_big or not process.alive or process.calls >= self._calls_per_process:
            await self.close()

    def _is_too_big(self, process: PoolProcess, memory_limit_bytes: int) -> bool:
        """What calls leave behind must not count against the next one.

        A look costs a tenth of a small call. A call too short to be followed by one has had no time to fill
        much memory.
        """
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LOOK_EVERY_SECONDS:
            return False
        self._looked_at = now
        idle_bytes = process.resident_bytes
        if idle_bytes <= memory_limit_bytes / 2:
            return False
        log.warning("pool_process_too_big", idle_bytes=idle_bytes, item_memory_bytes=memory_limit_bytes)
        return True
