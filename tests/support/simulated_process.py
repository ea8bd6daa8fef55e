"""A simulated process: failover over both databases, a worker and a user that do what they like."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from random import Random
from uuid import UUID

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, RecordStatus, Report, Result, Retry, Snooze
from gristmill.engine.lease import Watch
from gristmill.ports.documents import Published
from gristmill.ports.errors import GristmillError, StoreUnavailableError
from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from tests.support import builders
from tests.support.lines import LinedDatabase
from tests.support.simulated_ledger import Ledger
from tests.support.simulated_line import Runs, Server, SimulatedLine
from tests.support.virtual_time import VirtualClock

OPTIONS = FailoverOptions(
    call_timeout=4.0,
    probe_timeout=1.0,
    open_timeout=4.0,
    reconcile_every=2.0,
    hand_over_after=4.0,
    page_rows=7,
)
LEASE = 3.0
TIMEOUT = Failure(FailureCategory.TIMEOUT, "Slow.")
SOURCES = ["file:///a", "file:///b"]


class SimulatedProcess:
    """``batches`` are the ids that all processes know of."""

    def __init__(
        self, name, databases, servers: list[Server], batches: list[UUID], ledger: Ledger, random
    ) -> None:
        self.name = name
        self.runs = Runs()
        self.random: Random = random
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.lines = [SimulatedLine(server, self.runs, random) for server in servers]
        lined = [LinedDatabase(*pair) for pair in zip(databases, self.lines, strict=True)]
        self.database = FailoverDatabase(*lined, clock=self.clock, options=OPTIONS, by=name)
        self.batches = batches
        self.ledger = ledger
        self.stopping = False
        self._tasks: list[asyncio.Task] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._live())]

    async def crash(self) -> None:
        """Nothing is given back, nothing is closed in order."""
        for task in [*self._tasks, self.database._reconciler._task]:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def finished(self) -> None:
        self.stopping = True
        await asyncio.gather(*self._tasks)

    async def _live(self) -> None:
        while True:
            try:
                await self.database.open()
                break
            except StoreUnavailableError:
                await asyncio.sleep(1)
        await asyncio.gather(self._work(), self._use())

    # -- the worker ----------------------------------------------------------------------------------

    async def _work(self) -> None:
        watch = Watch(self.clock)
        while not self.stopping:
            with suppress(StoreUnavailableError):
                await self._work_once(watch)
            await asyncio.sleep(self.random.choice([0.1, 0.5, 1]))

    async def _work_once(self, watch: Watch) -> None:
        batches, worker = (
            self.database.batches,
            builders.worker(self.name, self.clock.now(), lease_seconds=LEASE),
        )
        renewed = self.clock.monotonic()
        await batches.renew_lease(worker)
        others = [each for each in await batches.list_workers() if each.worker_id != self.name]
        for other in watch.gone(iter(others)):
            await batches.take_back(other.worker_id, renewed_at=other.renewed_at)
        claimed = await batches.claim_records(self.name, limit=self.random.choice([1, 3, 8]))
        claimed = list(claimed)
        self.random.shuffle(claimed)
        if claimed and self.random.random() < 0.3:
            await batches.record_stages(claimed[:2], stage="working", progress=50)
        if claimed and self.random.random() < 0.2:
            await batches.release_records([claimed.pop()])
        await asyncio.sleep(self.random.choice([0, 0.1, 1]))
        if self.random.random() < 0.1 or self.clock.monotonic() - renewed > LEASE * 20:
            return  # Lost with its claims, for all that others know.
        await self.report([Report(record, self._outcome()) for record in claimed])
        await batches.end_batches()
        await self.tell()

    def _outcome(self):
        done = Done(Result(chunks=self.random.randint(1, 9)))
        return self.random.choice([done, done, Failed(TIMEOUT), Retry(TIMEOUT), Snooze(0.5)])

    async def report(self, reports: list[Report]) -> None:
        at = self.clock.monotonic()
        with self.ledger.promise("reports", at=at) as promise:
            refused = await self.database.batches.update_processing_status(reports)
        self.ledger.promises.remove(promise)
        turned_away = {id(refusal.report) for refusal in refused}
        for report in reports:
            if id(report) not in turned_away and isinstance(report.outcome, Done | Failed):
                done = isinstance(report.outcome, Done)
                record = report.record
                status = RecordStatus.COMPLETED if done else RecordStatus.FAILED
                subject = (record.batch_id, record.item_id, record.round, status)
                self.ledger.promises.append(replace(promise, what="ended", subject=subject))

    async def tell(self) -> None:
        events = await self.database.batches.pending_events(limit=20)
        self.ledger.told += [(event.event_id, event.batch_id, event.round) for event in events]
        if events:
            await self.database.batches.events_delivered([event.event_id for event in events])

    # -- the user ------------------------------------------------------------------------------------

    async def _use(self) -> None:
        while not self.stopping:
            deed = self.random.choice(
                [self._submit, self._submit, self._seal, self._show, self._show, self._other]
            )
            # Down, or of a batch that the database that serves has not heard of, or sealed.
            with suppress(GristmillError):
                await deed()
            await asyncio.sleep(self.random.choice([0.1, 0.7, 2]))

    async def _submit(self) -> None:
        batch_id, at = self.random.choice(self.batches), self.clock.monotonic()
        with self.ledger.promise("batch", batch_id, at=at):
            await self.database.batches.create_batch(builders.new_batch(batch_id, submitter=self.name))
        first = self.random.randint(0, 12)
        ids = [f"item-{n:02}" for n in range(first, first + self.random.randint(1, 6))]
        with self.ledger.promise("items", batch_id, tuple(ids), at=self.clock.monotonic()):
            await self.database.batches.create_processing_records(batch_id, builders.items(*ids))

    async def _seal(self) -> None:
        batch_id = self.random.choice(self.batches)
        with self.ledger.promise("sealed", batch_id, at=self.clock.monotonic()):
            await self.database.batches.seal_batch(batch_id)

    async def _other(self) -> None:
        batches, batch_id = self.database.batches, self.random.choice(self.batches)
        at, deed = (
            self.clock.monotonic(),
            self.random.choice(["cancel", "retry", "retry", "retry", "delete", "edit"]),
        )
        if deed == "delete":
            await self._delete()
        elif deed == "edit":
            document_id = builders.version(self.random.choice(SOURCES), []).document_id
            await self.database.documents.update_metadata({document_id: {"v": self.random.randint(0, 99)}})
        elif deed == "retry":
            with self.ledger.promise("reopened", batch_id, 0, at=at) as promise:
                if await batches.retry_failed(batch_id, permanent=True):
                    promise.subject = (batch_id, 1)
        elif self.random.random() < 0.3:
            before = await batches.get_batch(batch_id)
            if before is not None and not before.ended:
                with self.ledger.promise("cancelled", batch_id, before.round, at=at) as promise:
                    if not await batches.cancel_batch(batch_id):
                        promise.what, promise.subject = "batch", (batch_id,)

    async def _show(self) -> None:
        documents, at = self.database.documents, self.clock.monotonic()
        texts = [f"text {self.random.randint(0, 5)} {part}" for part in range(self.random.randint(1, 3))]
        version = builders.version(self.random.choice(SOURCES), texts)
        await documents.open_collection("papers", builders.EMBEDDING)
        (wanted,) = await documents.stage_versions([version])
        vectors = builders.vectors_of(version)
        with self.ledger.promise("vectors", tuple(vectors), at=at):
            await documents.put_vectors(builders.EMBEDDING, vectors)
        with self.ledger.promise("live", version.document_id, wanted.ordinal, at=at) as promise:
            published = await documents.publish({version.document_id: wanted})
            if published[version.document_id] is not Published.LIVE:  # Then it promises nothing.
                promise.what, promise.subject = "vectors", ((),)

    async def _delete(self) -> None:
        document_id = builders.version(self.random.choice(SOURCES), []).document_id
        with self.ledger.promise("vectors", (), at=self.clock.monotonic()):
            await self.database.documents.delete_documents([document_id])
