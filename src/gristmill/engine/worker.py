"""The worker: claims groups of records, has them processed, writes outcomes in bulk, ends batches."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from gristmill.domain.batch import Batch, exceeds_tolerance
from gristmill.domain.record import SUSPECTS_TOGETHER, Done, Record, Report
from gristmill.engine.alone import Floor
from gristmill.engine.announce import Announcer
from gristmill.engine.collecting import fewer_collections
from gristmill.engine.in_hand import InHand
from gristmill.engine.lease import Lease, LeaseLostError
from gristmill.engine.pace import Pace
from gristmill.engine.reports import in_bulk, reports_of
from gristmill.ports.clock import Clock
from gristmill.ports.database import Database
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.processor import Processor

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """``lanes`` groups are in work at once, so that one extracts while others embed and publish.

    ``group_records``: at most so many in a group, and at first ``least_group_records`` (``Pace``).
    """

    group_records: int = 256
    least_group_records: int = 32
    lanes: int = 3
    outcomes_per_write: int = 128
    write_every_seconds: float = 0.5
    poll_seconds: float = 1.0
    lease_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Errand:
    """What a run is for: one batch or all; ``stay`` when there is nothing left to do; at most so many items."""

    batch_id: UUID | None = None
    stay: bool = False
    max_items: int | None = None


class Worker:
    """Runs records of the kinds it has processors for, until told to stop or until nothing is left to do."""

    def __init__(
        self,
        database: Database,
        processors: Mapping[str, Processor],
        *,
        clock: Clock,
        lease: Lease,
        options: WorkerOptions = WorkerOptions(),
        announcer: Announcer | None = None,
    ) -> None:
        self._database = database
        self._batches = database.batches
        self._processors = processors
        self._clock = clock
        self._lease = lease
        self._in_hand = InHand(database.batches, lease.worker.worker_id)
        self._looked = clock.monotonic()
        self._options = options
        self._pace = Pace(options.group_records, least=options.least_group_records)
        self._announcer = announcer or Announcer(database.batches, ())
        self._changed = asyncio.Event()
        self._floor = Floor()
        self._items_left: int | None = None
        self._untidy = False

    def wake(self) -> None:
        """Look again now: something was submitted or has ended."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(
        self, batch_id: UUID | None = None, *, stay: bool = False, max_items: int | None = None
    ) -> None:
        """Work until the batch has ended, or, without one, until nothing is due now or later.

        Raises StoreUnavailableError; what was claimed comes back when the lease ends.
        """
        errand = Errand(batch_id, stay, max_items)
        self._items_left = max_items
        with fewer_collections():
            while not await self._run_under_lease(errand):
                _log.warning("lease_lost", worker=self._lease.worker.worker_id)

    async def _run_under_lease(self, errand: Errand) -> bool:
        """False when the lease was lost: what was in hand is dropped, and everything begins anew."""
        lost = False
        await self._lease.take()
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._lease.keep())
                await self._run_lanes(errand)
                keeping.cancel()
        except* LeaseLostError:
            lost = True
        except* StoreUnavailableError as group:
            raise group.exceptions[0] from group
        finally:
            with contextlib.suppress(StoreUnavailableError):  # Then the lease ends by itself.
                await asyncio.shield(self._lease.give_up())
        return not lost

    async def _run_lanes(self, errand: Errand) -> None:
        await self._lease.take_back_from_gone_workers()
        await self._announcer.deliver()
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(self._options.lanes):
                    lanes.create_task(self._lane(errand))
        except* StoreUnavailableError as group:
            raise group.exceptions[0] from group

    async def _lane(self, errand: Errand) -> None:
        while self._items_left is None or self._items_left > 0:
            changed = self._changed  # Taken before looking, so that no change is missed.
            if await self.run_once(errand.batch_id):
                self._untidy = True
                self.wake()
                await self._look_for_unknown(every=self._options.lease_seconds / 3)
                continue
            pause = await self._pause(errand)
            if pause is None:
                self.wake()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()
            await self._lease.take_back_from_gone_workers()
            await self._look_for_unknown()

    async def _look_for_unknown(self, *, every: float = 0.0) -> None:
        if self._clock.monotonic() - self._looked >= every:
            self._looked = self._clock.monotonic()
            await self._in_hand.give_back_unknown()

    async def _pause(self, errand: Errand) -> float | None:
        """Seconds until it is worth looking again; None when there is nothing to wait for."""
        batch_id = errand.batch_id
        await self._end_batches(None if batch_id is None else {batch_id})
        due = await self._batches.next_due(kinds=list(self._processors), batch_id=batch_id)
        if self._untidy:
            self._untidy = False
            await self._database.tidy()
        if due is not None:
            return min(self._options.poll_seconds, max(0.02, (due - self._clock.now()).total_seconds()))
        if batch_id is not None:
            batch = await self._batches.get_batch(batch_id)
            return None if batch is None or batch.ended else self._options.poll_seconds
        return self._options.poll_seconds if errand.stay else None

    async def run_once(self, batch_id: UUID | None = None) -> int:
        """Claim one group and see it through; returns how many records it was."""
        records = await self._claim(batch_id)
        began = self._clock.monotonic()
        try:
            for kind in sorted({record.kind for record in records}):
                of_kind = [record for record in records if record.kind == kind]
                await self._run_group([r for r in of_kind if r.stage not in SUSPECTS_TOGETHER], kind)
                await self._run_suspects([r for r in of_kind if r.stage in SUSPECTS_TOGETHER], kind)
            self._pace.step(len(records), self._clock.monotonic() - began)
        finally:
            self._in_hand.put_down(records)
        return len(records)

    async def _run_group(self, group: Sequence[Record], kind: str) -> None:
        if group:
            async with self._floor.shared():
                await self._process(group, self._processors[kind])

    async def _run_suspects(self, suspects: Sequence[Record], kind: str) -> None:
        """Few at a time and nothing beside them: if we die, few can have been the cause."""
        for stage, together in SUSPECTS_TOGETHER.items():
            waiting = [record for record in suspects if record.stage == stage]
            for start in range(0, len(waiting), together):
                async with self._floor.alone():
                    await self._process(waiting[start : start + together], self._processors[kind])

    async def _claim(self, batch_id: UUID | None) -> Sequence[Record]:
        limit = self._pace.group_records
        if self._items_left is not None:
            limit = min(limit, self._items_left)
            self._items_left -= limit  # Before the others may look; what is not used is put back.
        records = await self._in_hand.claim(limit=limit, kinds=list(self._processors), batch_id=batch_id)
        if self._items_left is not None:
            self._items_left += limit - len(records)
        return records

    async def _process(self, records: Sequence[Record], processor: Processor) -> None:
        held = {record.record_id: record for record in records}
        options = self._options
        reports = reports_of(processor, records, self._show_stage)
        bulks = in_bulk(reports, most=options.outcomes_per_write, seconds=options.write_every_seconds)
        try:
            async with contextlib.aclosing(bulks):
                async for bulk in bulks:
                    for report in bulk:
                        held.pop(report.record.record_id, None)
                    stopped = await self._write(bulk)
                    if held and stopped >= {record.batch_id for record in held.values()}:
                        break
        finally:
            if held:  # We are stopping, or their batch is: give back what has no outcome.
                with contextlib.suppress(StoreUnavailableError):
                    await asyncio.shield(self._batches.release_records(list(held.values())))

    async def _show_stage(self, records: Sequence[Record], stage: str, progress: int) -> None:
        if records:
            await self._batches.record_stages(records, stage=stage, progress=progress)

    async def _write(self, reports: Sequence[Report]) -> set[UUID]:
        """Store the outcomes; returns the batches whose other records are not to be worked on now."""
        refused = await self._batches.update_processing_status(reports)
        for refusal in refused:
            _log.info("outcome_refused", item=refusal.report.record.item_id)
        await self._end_batches({report.record.batch_id for report in reports})
        troubled = {report.record.batch_id for report in reports if not isinstance(report.outcome, Done)}
        troubled |= {refusal.report.record.batch_id for refusal in refused}
        return {batch_id for batch_id in troubled if await self._is_stopped(batch_id)}

    async def _is_stopped(self, batch_id: UUID) -> bool:
        progress = await self._batches.get_processing_progress(batch_id)
        batch, counters = progress.batch, progress.counters
        if batch.ended or batch.cancel_requested:
            return True
        if exceeds_tolerance(batch, counters):
            await self._stop(batch, failed=counters.failed, ended=counters.ended)
            return True
        return batch.hold.stops(self._clock.now())

    async def _stop(self, batch: Batch, *, failed: int, ended: int) -> None:
        await self._batches.cancel_batch(
            batch.batch_id,
            error_message=(
                f"{failed} of the first {ended} items failed ({100 * failed / ended:.0f} %); "
                f"this batch tolerates {batch.max_error_rate:g} %. What was pending was cancelled."
            ),
        )
        await self._end_batches({batch.batch_id})

    async def _end_batches(self, batch_ids: set[UUID] | None) -> None:
        if await self._batches.end_batches(batch_ids):
            await self._announcer.deliver()
