"""The batch port: batches, their records, claims and leases.

Every method is atomic, and durable when it returns. A store decides no states: it applies the functions of
``domain.moves`` and ``domain.batch``. Counters add up at every instant another connection can see. Methods
that change records draw a new write id for every row they write and set its owed mark.

Every method may raise StoreUnavailableError; nothing else means an outage.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView, Counters, NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Item, Record, RecordStatus, Refusal, Report


@dataclass(frozen=True, slots=True)
class Created:
    """``existing`` counts items that were there before, or twice in the same call."""

    created: int
    existing: int


@dataclass(frozen=True, slots=True)
class BatchPage:
    """``after`` is the cursor of the next page, None on the last."""

    batches: Sequence[Batch]
    after: str | None


@dataclass(frozen=True, slots=True)
class RecordPage:
    records: Sequence[Record]
    after: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """``rate`` is records ended a second since the batch started; ``eta_seconds`` None when unknown."""

    batch: Batch
    counters: Counters
    percent: float
    rate: float
    eta_seconds: float | None
    failures: dict[str, int]  # Failed records by category.


@dataclass(frozen=True, slots=True)
class Statistics:
    """Over batches created at or after ``since`` and their records; rates are of ended records."""

    since: datetime
    batches: int
    batches_by_status: dict[str, int]
    items: int
    completed: int
    failed: int
    cancelled: int
    success_rate_percentage: float  # completed / (completed + failed); 0 when nothing ended.
    mean_seconds: float | None  # From start to end of completed records.
    items_per_hour: float | None  # Ended records over the time from first start to last end.
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed records of one batch and category; ``example`` is the newest message, ``item_id`` its item."""

    category: FailureCategory
    count: int
    permanent: bool
    item_id: str
    example: str


@dataclass(frozen=True, slots=True)
class Cleanup:
    batches: int
    records: int


@dataclass(frozen=True, slots=True)
class Worker:
    """Who holds claims. A process is the same only if host, boot, pid and its start time are."""

    worker_id: str
    host_id: str
    boot_id: str
    pid: int
    process_started: float
    renewed_at: datetime
    lease_seconds: float = 30.0


class Batches(Protocol):
    # -- submission ----------------------------------------------------------------------------------

    async def create_batch(self, new: NewBatch) -> Batch:
        """Store the batch as queued and unsealed, or return the stored one unchanged but for its submitter.

        A batch that is still unsealed is taken over by the new submitter.
        """
        ...

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        """Store the items as pending records, in one transaction; items that are there are left as they are.

        Records take the batch's priority. Order: claimed in the order of ``domain.record.claim_order``.
        Raises BatchNotFoundError; BadItemIdError (with the position) before anything is stored;
        BatchConflictError if the batch is sealed and an item is not among its records, unless so many of those
        that were declared are missing (``domain.batch.missing_records``): these take their places.
        """
        ...

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        """Declare that the records present are all; sets ``total_files``. Again: no change.

        With ``anew`` also of a sealed batch that lacks declared records (``domain.batch.missing_records``).
        Raises BatchNotFoundError. Does not end the batch (see ``end_batches``).
        """
        ...

    # -- claims and leases ---------------------------------------------------------------------------

    async def renew_lease(self, worker: Worker) -> None:
        """Store the worker with its ``renewed_at``; creates it the first time."""
        ...

    async def list_workers(self) -> Sequence[Worker]:
        """All that are not forgotten, and those that are if a merge brought a claim of theirs: somebody must end it."""
        ...

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        """End the lease of a worker that is gone: its processing records move by ``moves.end_leases``.

        Does nothing if the worker renewed after ``renewed_at``. Forgets the worker. Returns the moved records.
        """
        ...

    async def list_held(self, worker_id: str) -> Sequence[Record]:
        """The records in processing under claims of this worker, in no order."""
        ...

    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        """Claim up to ``limit`` due records (pending, next_attempt_at reached) in claim order.

        No two claimers get the same record. A batch whose first record is claimed becomes processing. The
        records of a call share one claim id. Records of batches that ended, were stopped or are held
        (``domain.hold``) are not claimed.
        """
        ...

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        """When the earliest pending record is due, those of a held batch not before its ``hold.until``; None without any."""
        ...

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        """Show the stage of claimed records; returns those still held by their claim, as they are now."""
        ...

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        """Apply outcomes by ``moves.settle``, each to the row of its claim (``moves.meets``).

        Returns the refused ones with the row they met, in the order given. A report of an unknown record is
        inserted, if its batch exists; else refused with ``met`` None. Same report twice: the second is refused.
        What is not refused changes the hold of its batch by ``hold.after``, in the order given.
        """
        ...

    async def release_records(self, records: Sequence[Record]) -> int:
        """Give claimed records back, attempts included; those no longer held by that claim are left alone."""
        ...

    # -- explicit changes ----------------------------------------------------------------------------

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        """Reopen failed records in the batch's next round, which returns to processing; 0 changes nothing.

        Of the categories named (default: all). Those of a permanent category only with ``permanent``. A hold
        of the batch ends. Raises BatchNotFoundError.
        """
        ...

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        """Cancel what is open; seals the batch with what it has, anew if that is less than was declared.

        Returns how many records were cancelled.

        ``error_message`` is set when the engine stops a batch itself (tolerance). An ended batch: 0, no change.
        Raises BatchNotFoundError.
        """
        ...

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        """End every batch (of those given) that may end (``domain.batch.may_end``); returns those it ended.

        The event of each end is stored with it, once a round. A database that takes rows from another one first
        cancels open records that came to a batch after it was cancelled (B2).
        """
        ...

    async def pending_events(self, *, limit: int) -> Sequence[BatchEnded]:
        """Events that nobody has been told of, oldest first."""
        ...

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        """Listeners know of these; unknown ids and those delivered before are left alone."""
        ...

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        """Delete batches that ended longer ago than this, with their records and delivered events; nothing else.

        ``apply=False`` only counts.
        """
        ...

    # -- looking -------------------------------------------------------------------------------------

    async def get_batch(self, batch_id: UUID) -> Batch | None: ...

    async def list_batches(self, *, limit: int, after: str | None = None) -> BatchPage:
        """Newest first. A cursor that is not ours raises ValueError."""
        ...

    async def batch_status_view(self, batch_id: UUID) -> BatchStatusView:
        """Raises BatchNotFoundError."""
        ...

    async def get_processing_progress(self, batch_id: UUID) -> Progress:
        """Raises BatchNotFoundError. Costs the same for 1,000,000 records as for 10."""
        ...

    async def get_processing_results(
        self,
        batch_id: UUID,
        *,
        status: RecordStatus | None = None,
        category: FailureCategory | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        """Pages in order of item_id (by code point); no record twice or left out while others change.

        Raises BatchNotFoundError; ValueError for a cursor that is not ours.
        """
        ...

    async def find_records(self, batch_id: UUID, item_ids: Sequence[str]) -> Mapping[str, Record]:
        """Those of the items that have a record, by item id. Raises BatchNotFoundError."""
        ...

    async def get_error_groups(self, batch_id: UUID) -> Sequence[ErrorGroup]:
        """Failed records by category, most frequent first, then by category. Raises BatchNotFoundError."""
        ...

    async def get_processing_statistics(self, since: datetime) -> Statistics: ...
