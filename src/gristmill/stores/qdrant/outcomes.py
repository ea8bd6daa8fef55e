"""Outcomes of claimed records. The records come first, then the holds of their batches.

A crash between the two forgets a part of a row of failures, which the next failures make up for.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from gristmill.domain import hold, moves
from gristmill.domain.facts import BatchFacts
from gristmill.domain.record import Outcome, Record, Refusal, Report
from gristmill.stores.qdrant.batch_points import StoredBatch, held_as
from gristmill.stores.qdrant.points import TOKEN, Payload
from gristmill.stores.qdrant.record_points import placed_as, placed_in, point_of, record_of
from gristmill.stores.qdrant.submission import Submission


@dataclass(slots=True)
class _Round:
    """One reading of the rows that some reports meet, and what comes of it."""

    rows: dict[UUID, Payload]
    batches: dict[UUID, StoredBatch]
    settled: dict[UUID, Record] = field(default_factory=dict)
    refused: dict[int, Refusal] = field(default_factory=dict)
    accepted: list[int] = field(default_factory=list)


class OutcomeWriter(Submission):
    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        left = dict(enumerate(reports))
        refused: dict[int, Refusal] = {}
        accepted: list[int] = []
        batches: dict[UUID, StoredBatch] = {}
        while left:
            each = await self._read(left)
            self._settle(left, each)
            won = await self._store(each)
            # Those whose row changed meanwhile meet the new one.
            lost = {n for n, report in left.items() if _lost(report, each, won)}
            refused |= {n: refusal for n, refusal in each.refused.items() if n not in lost}
            accepted += [n for n in each.accepted if n not in lost]
            batches |= each.batches
            left = {n: left[n] for n in sorted(lost)}
        await self._hold([reports[n] for n in sorted(accepted)], batches)
        return [refused[n] for n in sorted(refused)]

    async def _read(self, left: dict[int, Report]) -> _Round:
        rows, batches = await asyncio.gather(
            self._records.get({report.record.record_id for report in left.values()}),
            self._batches({report.record.batch_id for report in left.values()}),
        )
        return _Round(rows, batches)

    def _settle(self, left: dict[int, Report], found: _Round) -> None:
        for n, report in left.items():
            claimed = report.record
            met = found.settled.get(claimed.record_id)
            if met is None and claimed.record_id in found.rows:
                met = record_of(found.rows[claimed.record_id])
            batch = found.batches.get(claimed.batch_id)
            if batch is None or batch.facts.forgets(claimed) or not moves.meets(met, report):
                found.refused[n] = Refusal(report=report, met=met)
                continue
            held = met if met is not None and met.claim == claimed.claim else claimed
            settled = moves.settle(held, report.outcome, self._policy, self._write())
            found.settled[claimed.record_id] = settled
            found.accepted.append(n)

    async def _store(self, found: _Round) -> set[UUID]:
        points, marks = [], self._numbers.marks()
        for record_id, record in found.settled.items():
            if record_id in found.rows:
                placed = placed_as(found.rows[record_id])
            else:
                batch = await self._with_reference(found.batches[record.batch_id], record.item_id)
                found.batches[record.batch_id] = batch
                placed = placed_in(batch, record.item_id)
            points.append(point_of(record, placed, marks))
        expected = [found.rows[each][TOKEN] for each in found.settled if each in found.rows]
        return await self._records.swap(points, expected)

    async def _hold(self, accepted: Sequence[Report], batches: dict[UUID, StoredBatch]) -> None:
        outcomes: dict[UUID, list[Outcome]] = {}
        for report in accepted:
            outcomes.setdefault(report.record.batch_id, []).append(report.outcome)
        for batch_id, each in outcomes.items():
            await self._change_from(batches[batch_id], partial(self._held_after, each))

    def _held_after(self, outcomes: list[Outcome], stored: StoredBatch) -> StoredBatch | None:
        """The batch with its hold after these, None if that is as it was."""
        now, pause = self._clock.now(), self._policy.snooze_seconds
        held = stored.facts.held.hold
        for outcome in outcomes:
            held = hold.after(held, outcome, now=now, pause_seconds=pause)
        facts: BatchFacts = held_as(stored.facts, held, self._write())
        return None if facts is stored.facts else replace(stored, facts=facts)


def _lost(report: Report, found: _Round, won: set[UUID]) -> bool:
    record_id = report.record.record_id
    return record_id in found.settled and record_id not in won
