"""A batch port under watch: every call goes through, its answer is held against the model, and so is what it left."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.batch import Batch, NewBatch
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Item, Record, Refusal, Report
from gristmill.ports.batches import Batches, Cleanup, Created, Worker
from tests.support.clocks import ManualClock
from tests.support.engine_checks import Checks
from tests.support.engine_facts import BatchFact, Fact, Key, key_of
from tests.support.engine_model import Model


class WatchedBatches:
    """Calls that change nothing go through unwatched."""

    def __init__(self, inner: Batches, clock: ManualClock) -> None:
        self.inner = inner
        self.model = Model(clock)
        self._clock = clock
        self._latest = clock.now()
        self._checks = Checks(self.model)
        self._checked = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def check_what_was_done(self) -> None:
        """After the last call that may have changed something, all holds that holds at every instant."""
        self._latest = max(self._latest, self._clock.now())
        if not self._checked:
            await self._checks.check(self.inner, self._clock.now())
        self._checked = True

    async def _begin(self) -> None:
        await self.check_what_was_done()
        self._checked = False

    async def opened_anew(self, inner: Batches) -> None:
        """The same database through another object: nothing may have changed."""
        await self._begin()
        self.inner = inner

    # -- submission ----------------------------------------------------------------------------------

    async def create_batch(self, new: NewBatch) -> Batch:
        await self._begin()
        batch = await self.inner.create_batch(new)
        self.model.create(new.batch_id, BatchFact(new.kind, new.priority, new.max_error_rate, new.submitter))
        return batch

    async def create_processing_records(self, batch_id: UUID, items: Sequence[Item]) -> Created:
        await self._begin()
        created = await self.inner.create_processing_records(batch_id, items)
        new = self.model.add(batch_id, items)
        assert created == Created(created=new, existing=len(items) - new)
        return created

    async def seal_batch(self, batch_id: UUID, *, anew: bool = False) -> Batch:
        await self._begin()
        sealed = await self.inner.seal_batch(batch_id, anew=anew)
        self.model.seal(batch_id)
        return sealed

    # -- claims and leases ---------------------------------------------------------------------------

    async def renew_lease(self, worker: Worker) -> None:
        await self._begin()
        await self.inner.renew_lease(worker)
        self.model.workers[worker.worker_id] = worker

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        await self._begin()
        taken = await self.inner.take_back(worker_id, renewed_at=renewed_at)
        assert {key_of(record) for record in taken} == set(self.model.take_back(worker_id, renewed_at))
        return taken

    async def claim_records(
        self,
        worker_id: str,
        *,
        limit: int,
        kinds: Collection[str] | None = None,
        batch_id: UUID | None = None,
    ) -> Sequence[Record]:
        await self._begin()
        claimed = await self.inner.claim_records(worker_id, limit=limit, kinds=kinds, batch_id=batch_id)
        self._check_choice([key_of(r) for r in claimed], self.model.claimable(kinds, batch_id), limit=limit)
        assert len({record.claim_id for record in claimed}) <= 1
        assert {record.worker for record in claimed} <= {worker_id}
        self.model.claim(claimed)
        return claimed

    def _check_choice(self, claimed: list[Key], claimable: dict[Key, datetime], *, limit: int) -> None:
        """Exactly what is due was chosen, in order.

        After the clock was set back, what had been due before may still be taken.
        """
        now = self._clock.now()
        due = [key for key, due_at in claimable.items() if due_at <= now]
        if now >= self._latest:
            assert claimed == due[:limit]
            return
        assert claimed == [key for key in claimable if key in set(claimed)]
        assert len(claimed) == limit or set(due) <= set(claimed)
        assert all(self.model.records[key].due <= self._latest for key in claimed)
        held = [self.model.batches[batch_id].held_until for batch_id, _ in claimed]
        assert all(until is None or until <= now for until in held)

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        await self._begin()
        shown = await self.inner.record_stages(records, stage=stage, progress=progress)
        assert [key_of(record) for record in shown] == self.model.show(records, stage)
        return shown

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        await self._begin()
        refused = await self.inner.update_processing_status(reports)
        met = [(each.report.record, Fact.of(each.met) if each.met else None) for each in refused]
        assert met == self.model.settle(reports)
        return refused

    async def release_records(self, records: Sequence[Record]) -> int:
        await self._begin()
        released = await self.inner.release_records(records)
        assert released == self.model.release(records)
        return released

    # -- explicit changes ----------------------------------------------------------------------------

    async def retry_failed(
        self,
        batch_id: UUID,
        *,
        categories: Collection[FailureCategory] | None = None,
        permanent: bool = False,
    ) -> int:
        await self._begin()
        retried = await self.inner.retry_failed(batch_id, categories=categories, permanent=permanent)
        assert retried == self.model.retry(batch_id, categories, permanent=permanent)
        return retried

    async def cancel_batch(self, batch_id: UUID, *, error_message: str | None = None) -> int:
        await self._begin()
        cancelled = await self.inner.cancel_batch(batch_id, error_message=error_message)
        assert cancelled == self.model.cancel(batch_id, error_message)
        return cancelled

    async def end_batches(self, batch_ids: Collection[UUID] | None = None) -> Sequence[Batch]:
        await self._begin()
        ended = await self.inner.end_batches(batch_ids)
        assert sorted(batch.batch_id for batch in ended) == sorted(self.model.end(batch_ids))
        return ended

    async def events_delivered(self, event_ids: Collection[UUID]) -> None:
        await self._begin()
        await self.inner.events_delivered(event_ids)
        for batch_id, round_ in self.model.events:
            if identity.end_event_id(batch_id, round_) in event_ids:
                self.model.events[batch_id, round_] = True

    async def cleanup_old_records(self, older_than: timedelta, *, apply: bool) -> Cleanup:
        await self._begin()
        old = self.model.old(older_than)
        records = sum(len(self.model.of_batch(batch_id)) for batch_id in old)
        found = await self.inner.cleanup_old_records(older_than, apply=apply)
        assert found == Cleanup(batches=len(old), records=records)
        if apply:
            self.model.clean_up(older_than)
        return found
