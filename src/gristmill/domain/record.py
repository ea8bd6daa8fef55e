"""A processing record: the durable state of one item in one batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.failures import Failure, FailureCategory, is_permanent
from gristmill.domain.versions import Version


class RecordStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATUSES = frozenset({RecordStatus.PENDING, RecordStatus.PROCESSING})
ENDED_STATUSES = frozenset(RecordStatus) - OPEN_STATUSES

# What a record shows while it is processing. A processor may add its own: nothing in SQL lists them.
QUEUED = "queued"
# Queued too: in work with others when their worker ended. They run a few at a time, then each alone.
SUSPECT = "suspect"
SUSPECT_ALONE = "suspect_alone"
EXTRACTING = "extracting"
CHUNKING = "chunking"
EMBEDDING = "embedding"
AWAITING_PROVIDER = "awaiting_provider"
PUBLISHING = "publishing"
DONE = "done"
STAGES = (
    QUEUED,
    SUSPECT,
    SUSPECT_ALONE,
    EXTRACTING,
    CHUNKING,
    EMBEDDING,
    AWAITING_PROVIDER,
    PUBLISHING,
    DONE,
)

SUSPECTS_TOGETHER = {SUSPECT: 8, SUSPECT_ALONE: 1}
WAITING_STAGES = frozenset({QUEUED, *SUSPECTS_TOGETHER})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to process, as it is submitted. ``payload`` must be JSON."""

    item_id: str
    kind: str
    source: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a completed record produced.

    ``superseded``: a newer version of the document was committed meanwhile, so this one was not shown.
    ``details`` is for processors of other kinds and must be JSON.
    """

    document_id: UUID | None = None
    version: str | None = None
    chunks: int = 0
    reused: bool = False
    superseded: bool = False
    warnings: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """``claim_id`` and ``worker`` are set while processing only; times are aware UTC."""

    batch_id: UUID
    item_id: str
    kind: str
    source: str | None
    payload: Mapping[str, object]
    priority: int
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime
    version: Version = Version()
    status: RecordStatus = RecordStatus.PENDING
    stage: str = QUEUED
    progress: int = 0
    attempts: int = 0
    retries_total: int = 0
    claim_id: str | None = None
    worker: str | None = None
    error: Failure | None = None
    last_error_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result: Result | None = None

    @property
    def record_id(self) -> UUID:
        return identity.record_id(self.batch_id, self.item_id)

    @property
    def round(self) -> int:
        return self.version.round

    @property
    def epoch(self) -> int:
        return self.version.epoch

    @property
    def begun(self) -> bool:
        """Whether work on it was announced since it was claimed."""
        return self.status is RecordStatus.PROCESSING and self.stage not in WAITING_STAGES

    @property
    def claim(self) -> tuple[int, int, str | None]:
        return (self.round, self.epoch, self.claim_id)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970, exactly: float seconds would be off by one now and then."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds_since_1970: int) -> datetime:
    return _EPOCH + microseconds_since_1970 * _MICROSECOND


PRIORITY_HEAD_START = timedelta(minutes=10)


def claim_order(record: Record) -> tuple[int, UUID]:
    """Records are claimed in ascending order of this: by priority, age, id.

    One point of priority is worth ten minutes of age, so that nothing starves behind a stream of urgent work.
    The first part is integer microseconds, which a database can store and index.
    """
    order = record.created_at - record.priority * PRIORITY_HEAD_START
    return microseconds(order), record.record_id


@dataclass(frozen=True, slots=True)
class Done:
    result: Result = Result()


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed this time; the engine decides by category and attempts whether it is tried again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Failed:
    """Failed for good, whatever the category would allow."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Snooze:
    """Try again later at no cost; ``failure`` says why."""

    seconds: float
    failure: Failure | None = None


Outcome = Done | Retry | Failed | Snooze


@dataclass(frozen=True, slots=True)
class Report:
    """An outcome with the whole row its worker claimed (protocol C1)."""

    record: Record
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """An outcome that met a newer row; ``met`` is the row that stays."""

    report: Report
    met: Record | None


def outcome_of(failure: Failure) -> Retry | Failed:
    return Failed(failure) if is_permanent(failure.category) else Retry(failure)


def is_permanently_failed(category: FailureCategory, attempts: int, max_attempts: int) -> bool:
    """Whether no automatic retry will take a failed record of this category."""
    return is_permanent(category) or attempts >= max_attempts
