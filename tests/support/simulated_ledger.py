"""What processes were told is done, kept outside both databases, and what must come of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from gristmill.domain.record import RecordStatus
from gristmill.ports.replication import acknowledging
from gristmill.stores.memory.tables import Tables

ENDED = {RecordStatus.FAILED: 1, RecordStatus.CANCELLED: 2, RecordStatus.COMPLETED: 3}


@dataclass
class Promise:
    """``at`` is when it was asked for, in virtual seconds. One told as replicated survives the loss of either database."""

    what: str
    subject: tuple
    at: float
    replicated: bool = False
    kept: bool = False  # Acknowledged at all.


@dataclass
class Ledger:
    promises: list[Promise] = field(default_factory=list)
    told: list[tuple[UUID, UUID, int]] = field(default_factory=list)
    lost_at: list[float] = field(default_factory=list)

    @contextmanager
    def promise(self, what: str, *subject: object, at: float) -> Iterator[Promise]:
        """Written down only if what is done inside does not raise."""
        promise = Promise(what, subject, at)
        with acknowledging() as acknowledgement:
            yield promise
        promise.replicated = acknowledgement.replicated
        self.promises.append(promise)

    def broken(self, tables: Tables) -> list[Promise]:
        """Promises that the database does not keep and must."""
        return [each for each in self.promises if not self._is_excused(each) and not _is_kept(each, tables)]

    def _is_excused(self, promise: Promise) -> bool:
        """Told as held by one database alone, and one was lost since."""
        return not promise.replicated and any(lost >= promise.at for lost in self.lost_at)


def _is_kept(promise: Promise, tables: Tables) -> bool:
    match promise.what, promise.subject:
        case "batch", (batch_id,):
            return batch_id in tables.batches
        case "items", (batch_id, item_ids):
            return set(item_ids) <= tables.records.get(batch_id, {}).keys()
        case "sealed", (batch_id,):
            return tables.batches[batch_id].seal is not None
        case "cancelled", (batch_id, round_):
            facts = tables.batches[batch_id]
            return facts.round > round_ or (facts.cancel is not None and facts.cancel.round >= round_)
        case "reopened", (batch_id, round_):
            return tables.batches[batch_id].round >= round_
        case (("ended" | "completed"), (batch_id, item_id, round_, status)):
            record = tables.records[batch_id][item_id]
            return record.round > round_ or ENDED.get(record.status, 0) >= ENDED[status]
        case "live", (document_id, ordinal):
            facts = tables.documents[document_id]
            return (facts.live is not None and facts.live.ordinal >= ordinal) or facts.deleted >= ordinal
        case "deleted", (document_id, before):
            facts = tables.documents[document_id]
            return facts.deleted > before or (facts.live is not None and facts.live.ordinal > before)
        case "vectors", (vector_ids,):
            return set(vector_ids) <= tables.vectors.keys()
    raise ValueError(promise)
