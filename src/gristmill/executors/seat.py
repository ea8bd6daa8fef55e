"""A place for one pool process, which it keeps fit for the next call."""

import asyncio
from collections.abc import Sequence

import structlog

from gristmill.executors.process import Calls, PoolProcess
from gristmill.executors.starting import ProcessStartError, start_process

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

    @property
    def taken(self) -> bool:
        return self._process is not None and self._process.alive

    async def work(self, calls: Calls) -> None:
        """Run calls until there are none or the process is worn out; cancelling kills it.

        What was taken and got no result did not begin. Raises ProcessStartError when no process can be started.
        """
        if self._process is None or not self._process.alive:
            await self.close()
            self._process = await self._start()
        process = self._process
        try:
            await process.work(
                calls, most=self._calls_per_process, result_limit_bytes=self._result_limit_bytes
            )
        finally:
            if not process.alive or process.calls >= self._calls_per_process:
                await self.close()

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
