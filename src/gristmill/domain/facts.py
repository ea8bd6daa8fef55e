"""What databases tell each other of a batch and its end, and how two copies of it merge (protocol B1, B2).

A batch row replicates facts, never counters or its status: those follow from the records each database has. Facts of
one batch come from several hands (one seals, another cancels, a third asks for a retry), so the row as a whole has no
newer copy. Each fact is merged by an order of its own, and no fact is lost: the merge of two rows is their join.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatus, Counters, computed_status
from gristmill.domain.events import BatchEnded
from gristmill.domain.hold import NOT_HELD, Hold
from gristmill.domain.moves import Write
from gristmill.domain.record import Record, microseconds
from gristmill.domain.versions import Version, newer

# What is older than this was not written by anybody who knew of the batch as it is now (B3).
FORGOTTEN_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Header:
    """What a batch was created with; never changed."""

    kind: str
    name: str | None
    collection: str | None
    priority: int
    max_error_rate: float | None
    options: Mapping[str, object]
    created_at: datetime
    write_id: str

    @property
    def order(self) -> tuple[int, str]:
        return microseconds(self.created_at), self.write_id


@dataclass(frozen=True, slots=True)
class Seal:
    """How many records were declared to be all. Sealed twice in a split: the larger number counts.

    ``anew`` rises when fewer are declared than before: that counts more than what it takes back.
    """

    total: int
    sealed_at: datetime
    write_id: str
    anew: int = 0

    @property
    def order(self) -> tuple[int, int, int, str]:
        return self.anew, self.total, microseconds(self.sealed_at), self.write_id


@dataclass(frozen=True, slots=True)
class Cancel:
    """Holds for its round alone: an explicit retry opens the next one. One that says why outweighs one that does not."""

    round: int
    error_message: str | None
    stamp: int
    write_id: str

    @property
    def order(self) -> tuple[int, bool, int, str]:
        return self.round, self.error_message is not None, self.stamp, self.write_id


@dataclass(frozen=True, slots=True)
class Submitter:
    name: str | None
    version: Version


@dataclass(frozen=True, slots=True)
class Held:
    hold: Hold
    version: Version


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """``life`` rises when a batch is created anew under the id of one that was cleaned up; ``deleted`` is its tombstone.

    ``deleted`` is the write id of the cleanup and None while the batch is there. ``deleted_at`` goes with it.
    """

    batch_id: UUID
    header: Header
    submitter: Submitter
    held: Held
    updated_at: datetime
    life: int = 0
    round: int = 0
    seal: Seal | None = None
    cancel: Cancel | None = None
    started_at: datetime | None = None
    deleted: str | None = None
    deleted_at: datetime | None = None

    @property
    def token(self) -> str:
        """Equal tokens mean equal bytes: each part is a write id, or the value itself."""
        parts = [
            self.life,
            self.deleted,
            self.header.write_id,
            self.submitter.version.write_id,
            self.held.version.write_id,
            self.round,
            self.seal and self.seal.write_id,
            self.cancel and self.cancel.write_id,
            self.started_at and microseconds(self.started_at),
            microseconds(self.updated_at),
        ]
        return "|".join("" if part is None else str(part) for part in parts)

    @property
    def cancelled(self) -> bool:
        return self.cancel is not None and self.cancel.round == self.round

    def forgets(self, record: Record) -> bool:
        """Whether a record belongs to a batch of this id that was cleaned up: its tombstone is final (B3)."""
        if self.deleted is not None:
            return True
        return self.life > 0 and record.created_at < self.header.created_at - FORGOTTEN_AFTER

    def sealed_with(self, total: int, *, write_id: str, sealed_at: datetime) -> "BatchFacts":
        """The facts after a declaration that so many records are all. The time of the first one stays."""
        before = self.seal
        if before is None:
            return replace(self, seal=Seal(total, sealed_at, write_id))
        if before.total == total:
            return self
        anew = before.anew + (total < before.total)
        return replace(self, seal=Seal(total, before.sealed_at, write_id, anew))

    def cancelled_by(self, write: Write, *, error_message: str | None, total: int) -> "BatchFacts":
        """The facts after a cancellation, which seals the batch with what it has.

        Every change of a fact is higher than the fact before in its own order, or a merge would undo it.
        """
        before = self.cancel if self.cancel is not None and self.cancelled else None
        message = before.error_message if before and error_message is None else error_message
        stamp = max(write.stamp, before.stamp + 1) if before else write.stamp
        return replace(
            self.sealed_with(total, write_id=write.write_id, sealed_at=write.now),
            cancel=Cancel(self.round, message, stamp, write.write_id),
            updated_at=max(self.updated_at, write.now),
        )

    def tombstone(self, *, write_id: str, now: datetime) -> "BatchFacts":
        return replace(self, deleted=write_id, deleted_at=now)


def join_batches(left: BatchFacts, right: BatchFacts) -> BatchFacts:
    """The least row that holds the facts of both: commutative, associative, idempotent."""
    if left.life != right.life:
        return left if left.life > right.life else right
    deleted, deleted_at = _earliest_deletion(left, right)
    return BatchFacts(
        batch_id=left.batch_id,
        header=min(left.header, right.header, key=lambda header: header.order),
        submitter=newer(left.submitter, right.submitter),
        held=newer(left.held, right.held),
        updated_at=max(left.updated_at, right.updated_at),
        life=left.life,
        round=max(left.round, right.round),
        seal=max((s for s in (left.seal, right.seal) if s), key=lambda seal: seal.order, default=None),
        cancel=max((c for c in (left.cancel, right.cancel) if c), key=lambda each: each.order, default=None),
        started_at=min((at for at in (left.started_at, right.started_at) if at), default=None),
        deleted=deleted,
        deleted_at=deleted_at,
    )


def _earliest_deletion(left: BatchFacts, right: BatchFacts) -> tuple[str | None, datetime | None]:
    found = [(each.deleted_at, each.deleted) for each in (left, right) if each.deleted_at and each.deleted]
    deleted_at, deleted = min(found, default=(None, None))
    return deleted, deleted_at


@dataclass(frozen=True, slots=True)
class EndFact:
    """The end of one round of a batch in one of its lives, and whether listeners know of it."""

    event: BatchEnded
    delivered: bool
    write_id: str
    life: int = 0

    @property
    def token(self) -> str:
        return f"{self.life}|{self.write_id}|{self.delivered:d}"


def join_ends(left: EndFact, right: EndFact) -> EndFact:
    """One event of one id: of two ends of a split the earlier one; told anywhere is told."""
    if left.life != right.life:
        return left if left.life > right.life else right
    first = min(left, right, key=lambda end: (microseconds(end.event.ended_at), end.write_id))
    return replace(first, delivered=left.delivered or right.delivered)


def confirms_end(facts: BatchFacts, counters: Counters) -> bool:
    """Whether the records a database has agree with an end that a merge brought.

    If not, the end came before the last record (A7), or a split brought a record after the end: the batch goes on.
    """
    return facts.seal is not None and counters.open == 0 and counters.total >= facts.seal.total


def batch_of(facts: BatchFacts, end: EndFact | None, counters: Counters) -> Batch:
    """The batch as it is shown; ``end`` is that of its round if it ended here, ``counters`` are of its records here."""
    ended = end is not None
    began = facts.started_at is not None or facts.round > 0
    header, seal = facts.header, facts.seal
    batch = Batch(
        batch_id=facts.batch_id,
        kind=header.kind,
        name=header.name,
        collection=header.collection,
        priority=header.priority,
        round=facts.round,
        status=BatchStatus.PROCESSING if began else BatchStatus.QUEUED,
        created_at=header.created_at,
        updated_at=facts.updated_at,
        total_files=0 if seal is None else seal.total,
        processed_files=counters.ended,
        max_error_rate=header.max_error_rate,
        error_message=facts.cancel.error_message if facts.cancel and facts.cancelled else None,
        cancel_requested=facts.cancelled,
        sealed_at=None if seal is None else seal.sealed_at,
        started_at=facts.started_at,
        completed_at=None,
        submitter=facts.submitter.name,
        options=header.options,
        hold=NOT_HELD if ended else facts.held.hold,
    )
    if end is None:
        return batch
    status = end.event.status if counters.open else computed_status(batch, counters)
    return replace(batch, status=status, completed_at=end.event.ended_at)
