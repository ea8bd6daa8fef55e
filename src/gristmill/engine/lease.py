"""The worker's lease: renewed while we live, given up when we were away too long, and ended for those that are gone."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from gristmill.engine.liveness import has_ended_here, is_overdue
from gristmill.ports.batches import Batches, Worker
from gristmill.ports.clock import Clock
from gristmill.ports.errors import StoreUnavailableError

_log = structlog.get_logger(__name__)

_CLOCK_JUMP_SECONDS = 5.0


class LeaseLostError(Exception):
    """We did not renew in time, frozen or cut off: others may have taken what we hold."""


@dataclass(slots=True)
class _Seen:
    renewed_at: datetime
    since: float  # When we first saw that, on our own monotonic clock.


class Watch:
    """Tells whose lease has ended, by what this process saw itself: clocks on the wall jump and differ.

    A process that is gone from this machine is gone at once. Any other is gone when nothing was heard of it for a
    whole lease; two thirds are enough when the clock says that it is overdue, too: by then it has stopped itself.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def gone(self, workers: Iterator[Worker]) -> list[Worker]:
        before, self._seen = self._seen, {}
        return [worker for worker in workers if self._is_gone(worker, before.get(worker.worker_id))]

    def _is_gone(self, worker: Worker, seen: _Seen | None) -> bool:
        if has_ended_here(worker):
            return True
        now = self._clock.monotonic()
        if seen is None or seen.renewed_at != worker.renewed_at:
            seen = _Seen(worker.renewed_at, now)
        self._seen[worker.worker_id] = seen
        silent = now - seen.since
        overdue = is_overdue(worker, now=self._clock.now())
        return silent > worker.lease_seconds * (2 / 3 if overdue else 1)


class Lease:
    """Renewed every third of its time. A worker that could not for two thirds stops, by its monotonic clock (C3)."""

    def __init__(self, batches: Batches, worker: Worker, *, clock: Clock) -> None:
        self._batches = batches
        self.worker = worker
        self._clock = clock
        self._watch = Watch(clock)
        self._renewed = clock.monotonic()
        self._latest = worker.renewed_at
        self._offset = self._clock_offset()

    @property
    def is_lost(self) -> bool:
        return self._clock.monotonic() - self._renewed > self.worker.lease_seconds * 2 / 3

    async def take(self) -> None:
        """Begin: give back what an earlier try of ours may hold (C2), then say that we live."""
        await self.give_up()
        await self.renew()

    async def renew(self) -> None:
        asked = self._clock.monotonic()  # Counted from before the request, whatever the answer takes.
        now = self._clock.now()
        self._latest = max(self._latest, now)
        await self._batches.renew_lease(replace(self.worker, renewed_at=now))
        self._renewed = asked

    async def give_up(self) -> None:
        """End: the worker is forgotten and holds nothing, also when the clock was set back since it renewed."""
        renewed_at = max(self._latest, self._clock.now())
        await self._batches.take_back(self.worker.worker_id, renewed_at=renewed_at)

    async def keep(self) -> None:
        """Renew for ever. Raises LeaseLostError."""
        third = self.worker.lease_seconds / 3
        pause = third
        while True:
            await asyncio.sleep(pause)
            self._note_clock()
            if self.is_lost:
                raise LeaseLostError
            try:
                async with asyncio.timeout(third):
                    await self.renew()
                pause = third
            except (StoreUnavailableError, TimeoutError) as error:
                _log.warning("lease_not_renewed", worker=self.worker.worker_id, reason=str(error))
                pause = third / 4

    async def take_back_from_gone_workers(self) -> int:
        """Give the records of workers that are gone back to the queue; returns how many."""
        taken = 0
        others = await self._batches.list_workers()
        for other in self._watch.gone(each for each in others if each.worker_id != self.worker.worker_id):
            moved = await self._batches.take_back(other.worker_id, renewed_at=other.renewed_at)
            taken += len(moved)
            if moved:
                _log.info("records_taken_back", worker=other.worker_id, records=len(moved))
        return taken

    def _clock_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _note_clock(self) -> None:
        """Say that the clock was set, or that the machine slept: retries then come earlier or later."""
        offset = self._clock_offset()
        if abs(offset - self._offset) > _CLOCK_JUMP_SECONDS:
            _log.warning("clock_jumped", seconds=round(offset - self._offset, 1))
        self._offset = offset
