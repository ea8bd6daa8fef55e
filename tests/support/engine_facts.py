"""What of batches and records a model of the engine keeps: all but times of change, texts and versions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

from gristmill.domain.batch import Batch
from gristmill.domain.identity import record_id
from gristmill.domain.record import Record, Result

Key = tuple[UUID, str]


@dataclass(frozen=True)
class Fact:
    """What must be stored of a record, its times and version apart."""

    kind: str
    priority: int
    created_at: datetime
    due: datetime
    status: str = "pending"
    attempts: int = 0
    retries: int = 0
    round: int = 0
    epoch: int = 0
    stage: str = "queued"
    category: str | None = None
    holder: tuple[str, str] | None = None  # Claim and worker.
    result: Result | None = None

    @classmethod
    def of(cls, record: Record) -> "Fact":
        return cls(
            kind=record.kind,
            priority=record.priority,
            created_at=record.created_at,
            due=record.next_attempt_at,
            status=record.status.value,
            attempts=record.attempts,
            retries=record.retries_total,
            round=record.round,
            epoch=record.epoch,
            stage=record.stage,
            category=record.error.category.value if record.error else None,
            holder=(record.claim_id, record.worker) if record.claim_id and record.worker else None,
            result=record.result,
        )

    def held_by(self, claim: Record) -> bool:
        held = self.status == "processing" and self.holder == (claim.claim_id, claim.worker)
        return held and (self.round, self.epoch) == (claim.round, claim.epoch)


@dataclass(frozen=True)
class BatchFact:
    kind: str
    priority: int
    tolerance: float | None
    submitter: str | None
    status: str = "queued"
    round: int = 0
    sealed: bool = False
    declared: int = 0
    stopped: bool = False
    message: str | None = None
    started: bool = False
    ended_at: datetime | None = None
    cause: str | None = None
    streak: int = 0
    held_until: datetime | None = None

    @classmethod
    def of(cls, batch: Batch) -> "BatchFact":
        return cls(
            kind=batch.kind,
            priority=batch.priority,
            tolerance=batch.max_error_rate,
            submitter=batch.submitter,
            status=batch.status.value,
            round=batch.round,
            sealed=batch.sealed_at is not None,
            declared=batch.total_files,
            stopped=batch.cancel_requested,
            message=batch.error_message,
            started=batch.started_at is not None,
            ended_at=batch.completed_at,
            cause=batch.hold.cause.value if batch.hold.cause else None,
            streak=batch.hold.streak,
            held_until=batch.hold.until,
        )


def key_of(record: Record) -> Key:
    return record.batch_id, record.item_id


@cache
def id_of(key: Key) -> UUID:
    return record_id(*key)


def claim_order(of: tuple[Key, Fact]) -> tuple[datetime, UUID]:
    """One point of priority is worth ten minutes of age."""
    key, fact = of
    return fact.created_at - fact.priority * timedelta(minutes=10), id_of(key)
