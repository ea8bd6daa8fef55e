"""What listeners are told of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.batch import Batch, BatchStatus, Counters


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch came to the end of a round. Stored with that end, told at least once, always under one id (B2)."""

    event_id: UUID
    batch_id: UUID
    round: int
    kind: str
    name: str | None
    collection: str | None
    status: BatchStatus
    counters: Counters
    error_message: str | None
    ended_at: datetime


def batch_ended(batch: Batch, counters: Counters, *, status: BatchStatus, now: datetime) -> BatchEnded:
    return BatchEnded(
        event_id=identity.end_event_id(batch.batch_id, batch.round),
        batch_id=batch.batch_id,
        round=batch.round,
        kind=batch.kind,
        name=batch.name,
        collection=batch.collection,
        status=status,
        counters=counters,
        error_message=batch.error_message,
        ended_at=now,
    )
