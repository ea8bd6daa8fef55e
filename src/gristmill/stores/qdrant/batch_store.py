"""What all parts of the batch port share: reading batches and records, and changing them by compare-and-set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from qdrant_client import models

from gristmill.domain import moves
from gristmill.domain.batch import Batch
from gristmill.domain.record import Record, RecordStatus
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.errors import BatchNotFoundError
from gristmill.stores.qdrant import batch_points, record_points, schema
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.connection import Connection
from gristmill.stores.qdrant.marks import Numbers
from gristmill.stores.qdrant.points import TOKEN, Payload, Points, equals, where
from gristmill.stores.qdrant.record_points import Outcomes, placed_as, record_of

REMOVED = equals("removed", "yes")
Decide = Callable[[StoredBatch], StoredBatch | None]


class BatchStore:
    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        retry_policy: RetryPolicy,
        write_ids: WriteIds,
        numbers: Numbers,
    ) -> None:
        self._state = Points(connection, schema.STATE.name)
        self._records = Points(connection, schema.RECORDS.name)
        self._documents = Points(connection, schema.DOCUMENTS.name)
        self._clock = clock
        self._policy = retry_policy
        self._write_ids = write_ids
        self._numbers = numbers
        self._crowded = 0  # For how many rounds more other claimers are to be reckoned with.

    def _write(self) -> moves.Write:
        return moves.Write(now=self._clock.now(), write_id=self._write_ids.draw())

    # -- batches -------------------------------------------------------------------------------------

    async def _all_batches(self, batch_ids: Iterable[UUID]) -> dict[UUID, StoredBatch]:
        """Tombstones too."""
        found = await self._state.get(batch_ids)
        return {each: batch_points.stored_of(payload) for each, payload in found.items()}

    async def _batches(self, batch_ids: Iterable[UUID]) -> dict[UUID, StoredBatch]:
        """Those that are there."""
        found = await self._all_batches(batch_ids)
        return {each: stored for each, stored in found.items() if stored.facts.deleted is None}

    async def _batch(self, batch_id: UUID) -> StoredBatch:
        found = await self._batches([batch_id])
        if batch_id not in found:
            raise BatchNotFoundError(batch_id)
        return found[batch_id]

    async def _outcomes(self, batch_id: UUID) -> Outcomes:
        return Outcomes(await self._records.facet("outcome", of_batch(batch_id)))

    async def _counted(self, stored: StoredBatch) -> Batch:
        found = await self._outcomes(stored.batch_id)
        return batch_points.counted(stored.batch, found.counters.ended)

    async def _change_batch(self, batch_id: UUID, decide: Decide) -> StoredBatch:
        """Change a batch by what ``decide`` makes of its newest state, None for nothing; returns what is stored then.

        Raises BatchNotFoundError. Of several that write at once each goes on in turn.
        """
        return await self._change_from(await self._batch(batch_id), decide)

    async def _change_from(self, stored: StoredBatch, decide: Decide) -> StoredBatch:
        """The same of a batch that was just read."""
        while True:
            new = decide(stored)
            if new is None:
                return stored
            written = await self._swap_batch(stored, new)
            if written is not None:
                return written
            stored = await self._batch(stored.batch_id)

    async def _swap_batch(self, before: StoredBatch, new: StoredBatch) -> StoredBatch | None:
        """Store the batch, owed if its facts changed; None if it is no more as it was before."""
        if new.facts != before.facts:
            new = replace(new, marks=self._numbers.marks())
        return await self._put_batch(before, new)

    async def _put_batch(self, before: StoredBatch, new: StoredBatch) -> StoredBatch | None:
        """The same with the marks as given."""
        made = batch_points.point_of(new)
        return (
            batch_points.stored_of(made.payload or {})
            if await self._state.swap_one(made, before.token)
            else None
        )

    # -- records -------------------------------------------------------------------------------------

    async def _swap_records(self, changed: Sequence[Record], rows: Mapping[UUID, Payload]) -> set[UUID]:
        """Store records whose rows are still as they were read; returns the ids of those that were stored."""
        marks = self._numbers.marks()
        points = [record_points.point_of(each, placed_as(rows[each.record_id]), marks) for each in changed]
        return await self._records.swap(points, [rows[each.record_id][TOKEN] for each in changed])

    async def _move(
        self, rows: Mapping[UUID, Payload], move: Callable[[Record], Record | None]
    ) -> dict[UUID, Record]:
        """Apply ``move`` to each row as it is now, None for those to leave alone; returns the moved ones."""
        moved: dict[UUID, Record] = {}
        left = dict(rows)
        while left:
            wanted = {each: move(record_of(row)) for each, row in left.items()}
            changed = {each: record for each, record in wanted.items() if record is not None}
            won = await self._swap_records(list(changed.values()), left)
            moved |= {each: changed[each] for each in won}
            left = await self._records.get(changed.keys() - won)
        return moved

    async def _move_held(self, records: Sequence[Record], move: Callable[[Record], Record]) -> list[Record]:
        """Move those of the records that one of the claims given still holds, each once."""
        claims: dict[UUID, set[tuple[int, int, str | None]]] = {}
        for each in records:
            claims.setdefault(each.record_id, set()).add(each.claim)

        def held(record: Record) -> Record | None:
            processing = record.status is RecordStatus.PROCESSING
            return move(record) if processing and record.claim in claims[record.record_id] else None

        moved = await self._move(await self._records.get(claims), held)
        return [moved[each] for each in claims if each in moved]


def of_batch(
    batch_id: UUID, *more: models.Condition, without: Sequence[models.Condition] = ()
) -> models.Filter:
    return where(equals("batch_id", str(batch_id)), *more, without=without)
