"""Claims: who gets which due records.

Candidates come in claim order. A claim is a conditional write of whole rows that names the tokens read, so two
claimers that chose the same record cannot both write it; reading back says who did. A claimer that lost some looks
for a while at a wider window and takes from a random place in it, so that many claimers spread. The batch is started after its records
are claimed; a crash between leaves that to the next claim.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from gristmill.domain import moves
from gristmill.domain.record import Record, claim_order
from gristmill.stores.qdrant import batch_points
from gristmill.stores.qdrant.batch_points import StoredBatch, changed_at
from gristmill.stores.qdrant.batch_store import REMOVED, BatchStore
from gristmill.stores.qdrant.points import Condition, Payload, any_of, equals, where, within
from gristmill.stores.qdrant.record_points import id_of, record_of
from gristmill.stores.qdrant.values import instant, moment

_SPREAD = 8  # How many times the limit a claimer looks at that lost some of late.
_LOSS_COUNTS_FOR = 16  # Rounds of claiming.


class Claims(BatchStore):
    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        now = self._clock.now()
        due = [*_pending(kinds, batch_id), within("next_attempt_at", lte=instant(now))]
        closed = {each for each, until in (await self._held()).items() if now < until}
        claim_id, claimed = uuid4().hex, list[Record]()
        while (missing := limit - len(claimed)) > 0:
            window = missing * (_SPREAD if self._crowded else 1)
            rows = await self._first_due(due, closed, window)
            if not rows:
                break
            batches = await self._batches({UUID(row["batch_id"]) for row in rows})
            if stopped := {each for each in _batches_of(rows) if not _open(batches.get(each), now)}:
                closed |= stopped
                continue
            chosen = {id_of(row): row for row in _some(rows, missing)}
            taken = [
                moves.claim(record_of(row), claim_id=claim_id, worker=worker_id, write=self._write())
                for row in chosen.values()
            ]
            won = await self._swap_records(taken, chosen)
            claimed += [each for each in taken if each.record_id in won]
            self._crowded = max(0, self._crowded - 1) if len(won) == len(taken) else _LOSS_COUNTS_FOR
            for each in {record.batch_id for record in taken if record.record_id in won}:
                if batches[each].facts.started_at is None:
                    await self._change_from(batches[each], self._started)
            if len(won) == len(rows) < window:
                break  # That was all, or what is left was just claimed by others.
        return sorted(claimed, key=claim_order)

    def _started(self, stored: StoredBatch) -> StoredBatch | None:
        if stored.facts.started_at is not None:
            return None
        now = self._clock.now()
        return replace(stored, facts=changed_at(stored.facts, now, started_at=now))

    async def _held(self) -> dict[UUID, datetime]:
        """Until when each batch is held that is or was."""
        held = await self._state.by_id(
            where(equals("type", batch_points.BATCH), within("hold_until", gte=0), without=[REMOVED]),
            fields=["batch_id", "hold_until"],
        )
        return {UUID(each["batch_id"]): moment(each["hold_until"]) for each in held}

    async def _first_due(self, due: list[Condition], closed: set[UUID], limit: int) -> list[Payload]:
        """The first rows in claim order; of equal age those with the smallest ids."""
        without = _except(closed)
        rows = await self._records.first(where(*due, without=without), order="claim_order", limit=limit + 1)
        if len(rows) > limit:
            last = rows[-1]["claim_order"]
            rows = [row for row in rows if row["claim_order"] < last]
            if len(rows) < limit:
                alike = where(*due, equals("claim_order", last), without=without)
                rows += await self._records.by_id(alike, limit=limit - len(rows))
        return sorted(rows, key=lambda row: (row["claim_order"], id_of(row)))[:limit]

    async def next_due(
        self, *, kinds: Collection[str] | None = None, batch_id: UUID | None = None
    ) -> datetime | None:
        pending = _pending(kinds, batch_id)
        held = await self._held()
        found = [await self._earliest(pending, set(held))]
        for each, until in held.items():
            if batch_id in {None, each}:
                earliest = await self._earliest([*pending, equals("batch_id", str(each))], set())
                found.append(None if earliest is None else max(earliest, until))
        return min((each for each in found if each is not None), default=None)

    async def _earliest(self, pending: list[Condition], closed: set[UUID]) -> datetime | None:
        while True:
            chosen = where(*pending, without=_except(closed))
            rows = await self._records.first(
                chosen, order="next_attempt_at", limit=1, fields=["batch_id", "next_attempt_at"]
            )
            if not rows:
                return None
            (batch_id,) = _batches_of(rows)
            if not _stopped((await self._batches([batch_id])).get(batch_id)):
                return moment(rows[0]["next_attempt_at"])
            closed = closed | {batch_id}


def _pending(kinds: Collection[str] | None, batch_id: UUID | None) -> list[Condition]:
    conditions = [equals("status", "pending")]
    if kinds is not None:
        conditions.append(any_of("kind", kinds))
    if batch_id is not None:
        conditions.append(equals("batch_id", str(batch_id)))
    return conditions


def _except(closed: set[UUID]) -> list[Condition]:
    return [any_of("batch_id", map(str, closed))] if closed else []


def _batches_of(rows: Sequence[Payload]) -> set[UUID]:
    return {UUID(row["batch_id"]) for row in rows}


def _some(rows: list[Payload], count: int) -> list[Payload]:
    """The first ones, or of a wider window those from a random place on."""
    start = random.randrange(len(rows) - count + 1) if len(rows) > count else 0
    return rows[start : start + count]


def _stopped(stored: StoredBatch | None) -> bool:
    return stored is None or stored.facts.cancelled or stored.status is not None


def _open(stored: StoredBatch | None, now: datetime) -> bool:
    return stored is not None and not _stopped(stored) and not stored.facts.held.hold.stops(now)
