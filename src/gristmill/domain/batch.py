"""A batch, its counters, and the status view every face shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from gristmill.domain.hold import NOT_HELD, Hold
from gristmill.domain.record import RecordStatus

MESSAGE_CHARACTERS = 500
MESSAGES_SHOWN = 10
ERROR_TYPES_SHOWN = 5
TOLERANCE_NEEDS_ENDED = 20


class BatchStatus(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    ERROR = "error"
    CANCELLED = "cancelled"


ENDED_BATCH_STATUSES = frozenset(BatchStatus) - {BatchStatus.QUEUED, BatchStatus.PROCESSING}


@dataclass(frozen=True, slots=True)
class NewBatch:
    batch_id: UUID
    kind: str
    name: str | None = None
    collection: str | None = None
    priority: int = 0
    max_error_rate: float | None = None  # Percent.
    options: Mapping[str, object] = field(default_factory=dict)
    submitter: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """``total_files`` is declared by sealing; ``error_message`` is set only when the batch as a whole stopped."""

    batch_id: UUID
    kind: str
    name: str | None
    collection: str | None
    priority: int
    round: int
    status: BatchStatus
    created_at: datetime
    updated_at: datetime
    total_files: int
    processed_files: int
    max_error_rate: float | None
    error_message: str | None
    cancel_requested: bool
    sealed_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    submitter: str | None
    options: Mapping[str, object]
    hold: Hold = NOT_HELD

    @property
    def ended(self) -> bool:
        return self.status in ENDED_BATCH_STATUSES


@dataclass(frozen=True, slots=True)
class Counters:
    pending: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @classmethod
    def of(cls, counts: Mapping[RecordStatus, int]) -> "Counters":
        return cls(**{status.value: counts.get(status, 0) for status in RecordStatus})

    @property
    def total(self) -> int:
        return self.open + self.ended

    @property
    def open(self) -> int:
        return self.pending + self.processing

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def error_rate(self) -> float:
        """Percent of failed among completed and failed, 2 decimals; 0 before any ended."""
        tried = self.completed + self.failed
        return round(100 * self.failed / tried, 2) if tried else 0.0


@dataclass(frozen=True, slots=True)
class ErrorType:
    category: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Aggregates:
    """What a database computes from a batch's records for the status view.

    ``messages``: distinct, newest first, those of one moment in order of their text. ``error_types``: by count, then
    category, then message. Both speak of records that carry an error now.
    """

    counters: Counters
    permanent_failures: int
    max_retries: int
    messages: Sequence[str]
    latest_error_at: datetime | None
    first_started_at: datetime | None
    last_ended_at: datetime | None
    error_types: Sequence[ErrorType]


@dataclass(frozen=True, slots=True)
class BatchStatusView:
    batch_id: UUID
    batch_created_at: datetime
    batch_status: BatchStatus
    total_files: int
    total_documents: int
    completed_count: int
    failed_count: int
    in_progress_count: int
    queued_count: int
    permanent_failures: int
    max_retries: int
    error_messages: str
    latest_error_at: datetime | None
    batch_started_at: datetime | None
    batch_completed_at: datetime | None
    processing_hours: float | None
    error_rate_percentage: float
    computed_status: BatchStatus
    top_error_types: Sequence[ErrorType]
    cancelled_count: int

    def as_json(self) -> dict[str, Any]:
        """The columns as JSON values: ids and times as text, error types as objects."""
        return {column.name: _json_value(getattr(self, column.name)) for column in fields(self)}


def _json_value(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return [
                {"category": error.category, "message": error.message, "count": error.count}
                for error in value
            ]
        case _:
            return value


def computed_status(batch: Batch, counters: Counters) -> BatchStatus:
    """The first line that holds, in the order of the definition."""
    sealed = batch.sealed_at is not None
    if sealed and counters.total == 0:
        return BatchStatus.COMPLETED
    if counters.pending and batch.started_at is None and counters.pending == counters.total:
        return BatchStatus.QUEUED
    if not sealed or counters.open:
        return BatchStatus.PROCESSING
    if counters.cancelled:
        return BatchStatus.ERROR if batch.error_message else BatchStatus.CANCELLED
    if not counters.failed:
        return BatchStatus.COMPLETED
    return BatchStatus.COMPLETED_WITH_ERRORS if counters.completed else BatchStatus.ERROR


def may_end(batch: Batch, counters: Counters) -> bool:
    """A batch ends only if it is sealed, all declared records exist, and all there are have ended (B2).

    A split may have brought more than were declared: they are acknowledged too, and must not keep it open for ever.
    """
    complete = batch.total_files <= counters.total
    return not batch.ended and batch.sealed_at is not None and complete and counters.open == 0


def missing_records(batch: Batch, here: int) -> int:
    """How many of the declared records are not among the ``here`` there are.

    0, but where the others are still to come from another database or were lost with it.
    """
    sealed = batch.sealed_at is not None and not batch.ended
    return max(0, batch.total_files - here) if sealed else 0


def exceeds_tolerance(batch: Batch, counters: Counters) -> bool:
    """Whether so many records failed that nothing more should be claimed."""
    if batch.max_error_rate is None or counters.ended < TOLERANCE_NEEDS_ENDED:
        return False
    return 100 * counters.failed / counters.ended > batch.max_error_rate


def status_view(batch: Batch, found: Aggregates, now: datetime) -> BatchStatusView:
    """Put stored facts and aggregates together; the same code for every database."""
    counters = found.counters
    completed_at = found.last_ended_at if batch.ended else None
    return BatchStatusView(
        batch_id=batch.batch_id,
        batch_created_at=batch.created_at,
        batch_status=batch.status,
        total_files=batch.total_files if batch.sealed_at else counters.total,
        total_documents=counters.total,
        completed_count=counters.completed,
        failed_count=counters.failed,
        in_progress_count=counters.processing,
        queued_count=counters.pending,
        permanent_failures=found.permanent_failures,
        max_retries=found.max_retries,
        error_messages="\n".join(_one_line(message) for message in found.messages[:MESSAGES_SHOWN]),
        latest_error_at=found.latest_error_at,
        batch_started_at=found.first_started_at,
        batch_completed_at=completed_at,
        processing_hours=_hours(found.first_started_at, completed_at or now),
        error_rate_percentage=counters.error_rate,
        computed_status=computed_status(batch, counters),
        top_error_types=tuple(found.error_types[:ERROR_TYPES_SHOWN]),
        cancelled_count=counters.cancelled,
    )


def _one_line(message: str) -> str:
    return " ".join(message.split())[:MESSAGE_CHARACTERS]


def _hours(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else round((end - start).total_seconds() / 3600, 4)
