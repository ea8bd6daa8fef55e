"""Looking at batches and records: pages and figures, counted anew each time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView, status_view
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Record, RecordStatus
from gristmill.ports.batches import BatchPage, ErrorGroup, Progress, RecordPage, Statistics
from gristmill.stores.memory import summaries
from gristmill.stores.memory.batch_rows import BatchRows
from gristmill.stores.memory.cursors import page


class BatchViews(BatchRows):
    async def get_batch(self, batch_id: UUID) -> Batch | None:
        return self._batch(batch_id) if self._here(batch_id) else None

    async def list_batches(self, *, limit: int, after: str | None = None) -> BatchPage:
        batches = [self._batch(facts.batch_id) for facts in self._all_facts()]
        return BatchPage(*page(batches, listing="batches", key=_newest_first, limit=limit, after=after))

    async def batch_status_view(self, batch_id: UUID) -> BatchStatusView:
        batch = self._batch(batch_id)
        records = list(self._records(batch_id).values())
        found = summaries.aggregates(records, max_attempts=self._policy.max_attempts)
        return status_view(batch, found, self._clock.now())

    async def get_processing_progress(self, batch_id: UUID) -> Progress:
        batch = self._batch(batch_id)
        return summaries.progress(batch, list(self._records(batch_id).values()), self._clock.now())

    async def get_processing_results(
        self,
        batch_id: UUID,
        *,
        status: RecordStatus | None = None,
        category: FailureCategory | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        self._batch(batch_id)
        records = [
            record
            for record in self._records(batch_id).values()
            if status in {None, record.status}
            and (category is None or (record.error is not None and record.error.category == category))
        ]
        return RecordPage(*page(records, listing="records", key=_by_item_id, limit=limit, after=after))

    async def find_records(self, batch_id: UUID, item_ids: Sequence[str]) -> Mapping[str, Record]:
        self._facts(batch_id)
        records = self._records(batch_id)
        return {item_id: records[item_id] for item_id in item_ids if item_id in records}

    async def get_error_groups(self, batch_id: UUID) -> Sequence[ErrorGroup]:
        self._batch(batch_id)
        return summaries.error_groups(list(self._records(batch_id).values()))

    async def get_processing_statistics(self, since: datetime) -> Statistics:
        batches = [self._batch(f.batch_id) for f in self._all_facts() if f.header.created_at >= since]
        records = [r for batch in batches for r in self._records(batch.batch_id).values()]
        return summaries.statistics(since, batches, records)


def _newest_first(batch: Batch) -> tuple[float, str]:
    return -batch.created_at.timestamp(), str(batch.batch_id)


def _by_item_id(record: Record) -> tuple[str]:
    return (record.item_id,)
