"""The batch port over two databases."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView, NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Item, Record, RecordStatus, Refusal, Report
from gristmill.ports.batches import (
    BatchPage,
    Cleanup,
    Created,
    ErrorGroup,
    Progress,
    RecordPage,
    Statistics,
    Worker,
)
from gristmill.stores.failover.access import Access


class FailoverBatches:
    """Every method as the port says. Claims, views and counters are those of the database that serves."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create_batch(self, new: NewBatch) -> Batch:
        return await self._access.write(lambda d: d.batches.create_batch(new))

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        return await self._access.write(lambda d: d.batches.create_processing_records(batch_id, items))

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        return await self._access.write(lambda d: d.batches.seal_batch(batch_id, anew=anew))

    async def renew_lease(self, worker: Worker) -> None:
        await self._access.write(lambda d: d.batches.renew_lease(worker))

    async def list_workers(self) -> Sequence[Worker]:
        return await self._access.read(lambda d: d.batches.list_workers())

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        return await self._access.write(lambda d: d.batches.take_back(worker_id, renewed_at=renewed_at))

    async def list_held(self, worker_id: str) -> Sequence[Record]:
        return await self._access.read(lambda d: d.batches.list_held(worker_id))

    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        return await self._access.write(
            lambda d: d.batches.claim_records(worker_id, limit=limit, kinds=kinds, batch_id=batch_id)
        )

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        return await self._access.read(lambda d: d.batches.next_due(kinds=kinds, batch_id=batch_id))

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        return await self._access.write(
            lambda d: d.batches.record_stages(records, stage=stage, progress=progress)
        )

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        return await self._access.write(lambda d: d.batches.update_processing_status(reports))

    async def release_records(self, records: Sequence[Record]) -> int:
        return await self._access.write(lambda d: d.batches.release_records(records))

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        return await self._access.write(
            lambda d: d.batches.retry_failed(batch_id, categories=categories, permanent=permanent)
        )

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        return await self._access.write(
            lambda d: d.batches.cancel_batch(batch_id, error_message=error_message)
        )

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        return await self._access.write(lambda d: d.batches.end_batches(batch_ids))

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        return await self._access.read(lambda d: d.batches.pending_events(limit=limit))

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        await self._access.write(lambda d: d.batches.events_delivered(event_ids))

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        if not apply:
            return await self._access.read(lambda d: d.batches.cleanup_old_records(older_than, apply=False))
        return await self._access.write(lambda d: d.batches.cleanup_old_records(older_than, apply=True))

    # -- looking -------------------------------------------------------------------------------------

    async def get_batch(self, batch_id: UUID) -> Batch | None:
        return await self._access.read(lambda d: d.batches.get_batch(batch_id))

    async def list_batches(self, *, limit: int, after: str | None = None) -> BatchPage:
        return await self._access.read(lambda d: d.batches.list_batches(limit=limit, after=after))

    async def batch_status_view(self, batch_id: UUID) -> BatchStatusView:
        return await self._access.read(lambda d: d.batches.batch_status_view(batch_id))

    async def get_processing_progress(self, batch_id: UUID) -> Progress:
        return await self._access.read(lambda d: d.batches.get_processing_progress(batch_id))

    async def get_processing_results(
        self,
        batch_id: UUID,
        *,
        status: RecordStatus | None = None,
        category: FailureCategory | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        return await self._access.read(
            lambda d: d.batches.get_processing_results(
                batch_id, status=status, category=category, limit=limit, after=after
            )
        )

    async def find_records(self, batch_id: UUID, item_ids: Sequence[str]) -> Mapping[str, Record]:
        return await self._access.read(lambda d: d.batches.find_records(batch_id, item_ids))

    async def get_error_groups(self, batch_id: UUID) -> Sequence[ErrorGroup]:
        return await self._access.read(lambda d: d.batches.get_error_groups(batch_id))

    async def get_processing_statistics(self, since: datetime) -> Statistics:
        return await self._access.read(lambda d: d.batches.get_processing_statistics(since))
