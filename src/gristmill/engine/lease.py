"""The worker's lease: renewed while we live, and ended for workers that are gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from gristmill.engine.liveness import LEASE, is_gone
from gristmill.ports.batches import Batches, Worker
from gristmill.ports.clock import Clock
from gristmill.ports.errors import StoreUnavailableError

_log = structlog.get_logger(__name__)


class Lease:
    """Renews every third of the lease; a renewal that fails is tried again at the next."""

    def __init__(self, batches: Batches, worker: Worker, *, clock: Clock) -> None:
        self._batches = batches
        self.worker = worker
        self._clock = clock

    async def renew_once(self) -> None:
        await self._batches.renew_lease(replace(self.worker, renewed_at=self._clock.now()))

    async def take_back_from_gone_workers(self) -> int:
        """Give the records of workers that are gone back to the queue; returns how many."""
        taken = 0
        for other in await self._batches.list_workers():
            if other.worker_id != self.worker.worker_id and is_gone(other, now=self._clock.now()):
                moved = await self._batches.take_back(other.worker_id, renewed_at=other.renewed_at)
                taken += len(moved)
                if moved:
                    _log.info("records_taken_back", worker=other.worker_id, records=len(moved))
        return taken

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lease while the body runs; at its end the worker is forgotten and holds nothing."""
        await self.renew_once()
        renewing = asyncio.create_task(self._renew_for_ever())
        try:
            yield
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
            with contextlib.suppress(StoreUnavailableError):  # Then the lease ends by itself.
                await self._batches.take_back(self.worker.worker_id, renewed_at=self._clock.now())

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            try:
                await self.renew_once()
            except StoreUnavailableError as error:
                _log.warning("lease_not_renewed", worker=self.worker.worker_id, reason=str(error))
