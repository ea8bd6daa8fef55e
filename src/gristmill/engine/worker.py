"""The worker: claims groups of records, has them processed, writes outcomes in bulk, ends batches."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from gristmill.domain.batch import exceeds_tolerance
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Record, Report, Retry
from gristmill.engine.lease import Lease
from gristmill.ports.clock import Clock
from gristmill.ports.database import Database
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.processor import Processor

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """``lanes`` groups are in work at once, so that one extracts while another embeds and publishes."""

    group_records: int = 128
    lanes: int = 2
    outcomes_per_write: int = 64
    write_every_seconds: float = 0.5
    poll_seconds: float = 1.0


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
    ) -> None:
        self._database = database
        self._batches = database.batches
        self._processors = processors
        self._clock = clock
        self._lease = lease
        self._options = options
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look again now: something was submitted or has ended."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self, batch_id: UUID | None = None) -> None:
        """Work until the batch has ended, or, without one, until nothing is due now or later.

        Raises StoreUnavailableError; what was claimed comes back when the lease ends.
        """
        async with self._lease.held():
            await self._lease.take_back_from_gone_workers()
            await self._run_lanes(batch_id)
            await self._database.tidy()

    async def _run_lanes(self, batch_id: UUID | None) -> None:
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(self._options.lanes):
                    lanes.create_task(self._lane(batch_id))
        except* StoreUnavailableError as group:
            raise group.exceptions[0] from group

    async def _lane(self, batch_id: UUID | None) -> None:
        while True:
            changed = self._changed  # Taken before looking, so that no change is missed.
            if await self.run_once(batch_id):
                self.wake()
                continue
            pause = await self._pause(batch_id)
            if pause is None:
                self.wake()
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), pause)
            await self._lease.take_back_from_gone_workers()

    async def _pause(self, batch_id: UUID | None) -> float | None:
        """Seconds until it is worth looking again; None when there is nothing to wait for."""
        await self._batches.end_batches(None if batch_id is None else [batch_id])
        due = await self._batches.next_due(kinds=list(self._processors), batch_id=batch_id)
        if batch_id is None:
            return None if due is None else self._until(due)
        batch = await self._batches.get_batch(batch_id)
        if batch is None or batch.ended:
            return None
        return self._options.poll_seconds if due is None else self._until(due)

    def _until(self, due: datetime) -> float:
        return min(self._options.poll_seconds, max(0.02, (due - self._clock.now()).total_seconds()))

    async def run_once(self, batch_id: UUID | None = None) -> int:
        """Claim one group and see it through; returns how many records it was."""
        records = await self._batches.claim_records(
            self._lease.worker.worker_id,
            limit=self._options.group_records,
            kinds=list(self._processors),
            batch_id=batch_id,
        )
        for kind in {record.kind for record in records}:
            await self._process([record for record in records if record.kind == kind], self._processors[kind])
        return len(records)

    async def _process(self, records: Sequence[Record], processor: Processor) -> None:
        held = {record.record_id: record for record in records}
        try:
            async for reports in self._in_bulk(self._outcomes(processor, records)):
                for report in reports:
                    held.pop(report.record.record_id, None)
                await self._write(reports)
        finally:
            if held:  # Only when we are stopping: give back what has no outcome.
                with contextlib.suppress(StoreUnavailableError):
                    await asyncio.shield(self._batches.release_records(list(held.values())))

    async def _outcomes(self, processor: Processor, records: Sequence[Record]) -> AsyncGenerator[Report]:
        """One report for each record, whatever the processor does."""
        left = {record.record_id: record for record in records}
        failure = Failure(
            FailureCategory.INTERNAL,
            f"The processor of '{processor.kind}' gave no outcome for this item; please report this.",
        )
        try:
            async for processed in processor.process(records, self._show_stage):
                record = left.pop(processed.record.record_id, None)
                if record is not None:
                    yield Report(record, processed.outcome)
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a processor may come from another package.
            _log.exception("processor_failed", kind=processor.kind)
            failure = Failure(FailureCategory.INTERNAL, f"{type(error).__name__}: {error}")
        for record in left.values():
            yield Report(record, Retry(failure))

    async def _in_bulk(self, reports: AsyncGenerator[Report]) -> AsyncIterator[list[Report]]:
        """Group reports by number and time, so that an outcome waits no longer than it must."""
        loop = asyncio.get_running_loop()
        async with contextlib.aclosing(reports):
            group: list[Report] = []
            written = loop.time()
            async for report in reports:
                group.append(report)
                late = loop.time() - written >= self._options.write_every_seconds
                if late or len(group) >= self._options.outcomes_per_write:
                    yield group
                    group, written = [], loop.time()
            if group:
                yield group

    async def _show_stage(self, records: Sequence[Record], stage: str, progress: int) -> None:
        if records:
            await self._batches.record_stages(records, stage=stage, progress=progress)

    async def _write(self, reports: Sequence[Report]) -> None:
        refused = await self._batches.update_processing_status(reports)
        for refusal in refused:
            _log.info("outcome_refused", item=refusal.report.record.item_id)
        touched = {report.record.batch_id for report in reports}
        for batch_id in touched:
            await self._stop_beyond_tolerance(batch_id)
        await self._batches.end_batches(touched)

    async def _stop_beyond_tolerance(self, batch_id: UUID) -> None:
        progress = await self._batches.get_processing_progress(batch_id)
        batch, counters = progress.batch, progress.counters
        if not batch.ended and not batch.cancel_requested and exceeds_tolerance(batch, counters):
            share = 100 * counters.failed / counters.ended
            await self._batches.cancel_batch(
                batch_id,
                error_message=(
                    f"{counters.failed} of the first {counters.ended} items failed ({share:.0f} %); "
                    f"this batch tolerates {batch.max_error_rate:g} %. What was pending was cancelled."
                ),
            )
