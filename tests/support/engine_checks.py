"""The invariants of the batch port at one instant, against a model of what was acknowledged."""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.batch import Batch, status_view
from gristmill.domain.record import Record
from gristmill.ports.batches import Batches
from gristmill.stores.memory import summaries
from tests.support.engine_facts import BatchFact, Fact, Key, id_of, key_of
from tests.support.engine_model import MAX_ATTEMPTS, Model

MOVES = {
    ("pending", "processing"),
    ("pending", "cancelled"),
    ("processing", "pending"),
    ("processing", "completed"),
    ("processing", "failed"),
    ("processing", "cancelled"),
    ("failed", "pending"),
}


class Checks:
    """``check`` compares with the model, and with what was there at the check before."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._before: dict[Key, Record] = {}
        self._batches: dict[UUID, Batch] = {}
        self._write_ids: set[str] = set()

    async def check(self, batches: Batches, now: datetime) -> None:
        listed = {batch.batch_id: batch for batch in (await batches.list_batches(limit=100)).batches}
        assert listed.keys() == self._model.batches.keys()
        found: dict[Key, Record] = {}
        for batch_id, batch in listed.items():
            records = await _records_of(batches, batch_id)
            self._check_batch(batch, records)
            if batch != self._batches.get(batch_id) or any(key[0] == batch_id for key in self._model.named):
                await self._check_figures(batches, batch, records, now)
            found |= {key_of(record): record for record in records}
        self._check_nothing_is_lost(found)
        self._check_only_named_records_changed(found)
        await self._check_events(batches)
        assert {each.worker_id: each for each in await batches.list_workers()} == self._model.workers
        await self._check_next_due(batches, now)
        self._before, self._batches, self._model.named = found, listed, set()

    def _check_nothing_is_lost(self, found: dict[Key, Record]) -> None:
        """Invariants 1 and 2: every record there is, once, exactly as it was acknowledged."""
        expected = self._model.records
        assert found.keys() == expected.keys()
        wrong = {
            key[1]: (Fact.of(record), expected[key])
            for key, record in found.items()
            if Fact.of(record) != expected[key]
        }
        assert not wrong
        assert all(
            record.record_id == id_of(key) for key, record in found.items() if key in self._model.named
        )

    def _check_only_named_records_changed(self, found: dict[Key, Record]) -> None:
        """Invariants 3 and 6: what no call named is the same to the byte; what one named moved on, and legally."""
        for key, record in found.items():
            before = self._before.get(key)
            if key not in self._model.named:
                assert record == before
                continue
            assert record.version.write_id not in self._write_ids, "a write id was drawn twice"
            self._write_ids.add(record.version.write_id)
            assert record.attempts <= MAX_ATTEMPTS
            if before is not None:
                assert record.version > before.version
                assert record.status == before.status or (before.status, record.status) in MOVES

    def _check_batch(self, batch: Batch, records: list[Record]) -> None:
        """Invariant 4: the stored counters add up and are those of the records."""
        assert BatchFact.of(batch) == self._model.batches[batch.batch_id]
        counts = Counter(record.status.value for record in records)
        assert counts == self._model.counts(batch.batch_id)
        assert batch.processed_files == len(records) - counts["pending"] - counts["processing"]

    async def _check_figures(
        self, batches: Batches, batch: Batch, records: list[Record], now: datetime
    ) -> None:
        """Invariant 4: whatever shows figures shows those counted from the records."""
        assert await batches.get_batch(batch.batch_id) == batch
        progress = await batches.get_processing_progress(batch.batch_id)
        assert progress == summaries.progress(batch, records, now)
        assert progress.counters.total == len(records)
        view = await batches.batch_status_view(batch.batch_id)
        counted = status_view(batch, summaries.aggregates(records, max_attempts=MAX_ATTEMPTS), now)
        shown, expected = asdict(view), asdict(counted)
        wrong = {name: (shown[name], expected[name]) for name in shown if shown[name] != expected[name]}
        assert not wrong, wrong
        assert not batch.ended or view.computed_status == batch.status

    async def _check_events(self, batches: Batches) -> None:
        """Each end of a round has one event, which waits until it was delivered."""
        waiting = [event.event_id for event in await batches.pending_events(limit=1000)]
        expected = [identity.end_event_id(*of) for of, told in self._model.events.items() if not told]
        assert sorted(waiting) == sorted(expected)

    async def _check_next_due(self, batches: Batches, now: datetime) -> None:
        expected = min(self._model.claimable(None, None).values(), default=None)
        found = await batches.next_due()
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert max(found, now) == max(expected, now)


async def _records_of(batches: Batches, batch_id: UUID) -> list[Record]:
    page = await batches.get_processing_results(batch_id, limit=1000)
    assert page.after is None
    assert len({record.item_id for record in page.records}) == len(page.records)
    return list(page.records)
