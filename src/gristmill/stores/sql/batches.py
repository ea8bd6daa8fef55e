"""The batch port on SQL: each method is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy import Connection

from gristmill.domain import moves
from gristmill.domain.batch import Batch, BatchStatusView, NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Item, Record, RecordStatus, Refusal, Report
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
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
from gristmill.ports.clock import Clock
from gristmill.stores.sql import (
    batch_rows,
    claims,
    due,
    endings,
    leases,
    listings,
    outbox,
    outcomes,
    reopening,
    submission,
    views,
)
from gristmill.stores.sql.connections import Connections


class SqlBatches:
    """Times are read inside the transaction, so that they follow each other as the transactions do."""

    def __init__(
        self, connections: Connections, clock: Clock, *, retry_policy: RetryPolicy, write_ids: WriteIds
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._policy = retry_policy
        self._write_ids = write_ids

    def _draw(self) -> moves.Write:
        return moves.Write(now=self._clock.now(), write_id=self._write_ids.draw())

    # -- submission ----------------------------------------------------------------------------------

    async def create_batch(self, new: NewBatch) -> Batch:
        return await self._connections.run_write(
            lambda connection: submission.create_batch(connection, new, now=self._clock.now())
        )

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        return await self._connections.run_write(
            lambda connection: submission.create_records(connection, batch_id, items, draw=self._draw)
        )

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        return await self._connections.run_write(
            lambda connection: submission.seal_batch(connection, batch_id, anew=anew, now=self._clock.now())
        )

    # -- claims and leases ---------------------------------------------------------------------------

    async def renew_lease(self, worker: Worker) -> None:
        await self._connections.run_write(lambda connection: leases.renew(connection, worker))

    async def list_workers(self) -> Sequence[Worker]:
        return await self._connections.run_read(leases.list_workers)

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        return await self._connections.run_write(
            lambda connection: leases.take_back(
                connection, worker_id, renewed_at=renewed_at, policy=self._policy, draw=self._draw
            )
        )

    async def list_held(self, worker_id: str) -> Sequence[Record]:
        return await self._connections.run_read(lambda connection: leases.list_held(connection, worker_id))

    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        return await self._connections.run_write(
            lambda connection: claims.claim_records(
                connection,
                due.choices(connection, kinds, batch_id, now=self._clock.now()),
                limit=limit,
                worker_id=worker_id,
                claim_id=uuid4().hex,
                write=self._draw(),
            )
        )

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        return await self._connections.run_read(
            lambda connection: due.next_due(connection, kinds, batch_id, now=self._clock.now())
        )

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        return await self._connections.run_write(
            lambda connection: outcomes.show_stages(
                connection, records, stage=stage, progress=progress, draw=self._draw
            )
        )

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        alone: AbstractSet[UUID] = frozenset()
        while True:
            apply = partial(
                outcomes.apply_reports, reports=reports, policy=self._policy, draw=self._draw, alone=alone
            )
            try:
                return await self._connections.run_write(apply)
            except outcomes.UnknownRecordsError as unknown:
                alone = unknown.batch_ids

    async def release_records(self, records: Sequence[Record]) -> int:
        return await self._connections.run_write(
            lambda connection: outcomes.release(connection, records, draw=self._draw)
        )

    # -- explicit changes ----------------------------------------------------------------------------

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        return await self._connections.run_write(
            lambda connection: reopening.retry_failed(
                connection, batch_id, categories=categories, permanent=permanent, write=self._draw()
            )
        )

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        return await self._connections.run_write(
            lambda connection: endings.cancel_batch(
                connection, batch_id, error_message=error_message, write=self._draw()
            )
        )

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        return await self._connections.run_write(
            lambda connection: endings.end_batches(connection, batch_ids, write=self._draw())
        )

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        return await self._connections.run_read(partial(outbox.pending, limit=limit))

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        await self._connections.run_write(
            lambda connection: outbox.delivered(connection, event_ids, now=self._clock.now())
        )

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        def clean_up(connection: Connection) -> Cleanup:
            work = endings.delete_old if apply else endings.count_old
            return work(connection, older_than, now=self._clock.now())

        run = self._connections.run_write if apply else self._connections.run_read
        return await run(clean_up)

    # -- looking -------------------------------------------------------------------------------------

    async def get_batch(self, batch_id: UUID) -> Batch | None:
        def get(connection: Connection) -> Batch | None:
            row = batch_rows.find_row(connection, batch_id)
            return None if row is None else batch_rows.batch_of(row)

        return await self._connections.run_read(get)

    async def list_batches(self, *, limit: int, after: str | None = None) -> BatchPage:
        return await self._connections.run_read(partial(listings.list_batches, limit=limit, after=after))

    async def batch_status_view(self, batch_id: UUID) -> BatchStatusView:
        return await self._connections.run_read(
            lambda connection: views.batch_status_view(
                connection, batch_id, max_attempts=self._policy.max_attempts, now=self._clock.now()
            )
        )

    async def get_processing_progress(self, batch_id: UUID) -> Progress:
        return await self._connections.run_read(
            lambda connection: views.progress(connection, batch_id, now=self._clock.now())
        )

    async def get_processing_results(
        self,
        batch_id: UUID,
        *,
        status: RecordStatus | None = None,
        category: FailureCategory | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        return await self._connections.run_read(
            lambda connection: listings.list_records(
                connection, batch_id, status=status, category=category, limit=limit, after=after
            )
        )

    async def find_records(self, batch_id: UUID, item_ids: Sequence[str]) -> Mapping[str, Record]:
        return await self._connections.run_read(
            partial(listings.find_records, batch_id=batch_id, item_ids=item_ids)
        )

    async def get_error_groups(self, batch_id: UUID) -> Sequence[ErrorGroup]:
        return await self._connections.run_read(lambda connection: views.error_groups(connection, batch_id))

    async def get_processing_statistics(self, since: datetime) -> Statistics:
        return await self._connections.run_read(lambda connection: listings.statistics(connection, since))
