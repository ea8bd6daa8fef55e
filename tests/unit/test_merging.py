"""Merging rows of every kind: commutative, associative, idempotent, and in the right order (V5).

The rows are copies of the same thing that two databases wrote by legal operations, apart and with merges in between.
"""

import asyncio
from itertools import permutations, product
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.domain.batch import BatchStatus
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Report
from gristmill.ports.errors import GristmillError
from gristmill.ports.rows import Body, Kind, merged, row_of
from gristmill.stores.memory import MemoryDatabase
from tests.contract import replication_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

BATCH = UUID(int=7)
DEEDS = [
    "items", "seal", "claim", "claim", "done", "fail", "cancel", "retry", "end", "tell", "renew", "gone", "stage", "publish",
    "edit", "delete", "collection", "merge", "merge", "clean", "skew", "declare", "tell of the batch",
]  # fmt: skip
histories = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(DEEDS)), min_size=4, max_size=40)


class Apart:
    """Three databases; every row any of them ever held is kept, by kind and key."""

    def __init__(self) -> None:
        self.clocks = [ManualClock() for _ in range(3)]
        self.databases = [
            MemoryDatabase(clock, name=name, writer=name)
            for clock, name in zip(self.clocks, "abc", strict=True)
        ]
        self.random = Random(3)
        self.seen: dict[tuple[Kind, str], dict[str, Body]] = {}

    async def play(self, history) -> None:
        for database in self.databases:
            await database.replication.distrust(steps.STRANGER)
        for where, deed in history:
            self.clocks[where].advance(1)
            try:
                await self._do(self.databases[where], where, deed)
            except GristmillError:
                continue  # Of a batch that is not here, or sealed.
            finally:
                self._keep()

    def _keep(self) -> None:
        for database in self.databases:
            for body in database.tables.all_rows():
                row = row_of(body)
                known = self.seen.setdefault((row.kind, row.key), {})
                if row.token in known and row.kind is not Kind.VECTOR:
                    assert known[row.token] == body, "equal versions mean equal bytes"
                known[row.token] = body

    async def _do(self, database, where: int, deed: str) -> None:
        batches, documents = database.batches, database.documents
        now = self.clocks[where].now()
        version = builders.version("file:///a", [f"text {self.random.randint(0, 2)}"])
        match deed:
            case "items":
                await batches.create_batch(builders.new_batch(BATCH, submitter=database.name))
                await batches.create_processing_records(BATCH, builders.items(*self.random.sample("abcd", 2)))
            case "seal":
                await batches.seal_batch(BATCH)
            case "declare":
                await batches.seal_batch(BATCH, anew=True)
            case "claim":
                await batches.claim_records("w", limit=1)
            case "done" | "fail":
                records = (await batches.get_processing_results(BATCH)).records
                held = [record for record in records if record.worker]
                bad = Failed(Failure(FailureCategory.TIMEOUT, "Slow."))
                outcome = Done() if deed == "done" else bad
                await batches.update_processing_status([Report(record, outcome) for record in held[:1]])
            case "cancel":
                await batches.cancel_batch(BATCH, error_message=self.random.choice([None, "Enough."]))
            case "retry":
                await batches.retry_failed(BATCH)
            case "end":
                await batches.end_batches()
            case "tell":
                await batches.events_delivered([e.event_id for e in await batches.pending_events(limit=9)])
            case "renew":
                await batches.renew_lease(builders.worker("w", now))
            case "gone":
                await batches.take_back("w", renewed_at=now)
            case "publish":
                await documents.open_collection("papers", builders.EMBEDDING)
                (wanted,) = await documents.stage_versions([version])
                await documents.put_vectors(builders.EMBEDDING, builders.vectors_of(version))
                await documents.publish({version.document_id: wanted})
            case "stage":
                await documents.stage_versions([version])
            case "edit":
                await documents.update_metadata({version.document_id: {"v": self.random.randint(0, 9)}})
            case "delete":
                await documents.delete_documents([version.document_id])
            case "collection":
                await documents.open_collection("papers", builders.EMBEDDING)
            case "merge":
                other = self.databases[(where + 1) % 3]
                await steps.merge(other, *[row_of(body) for body in database.tables.all_rows()])
            case "tell of the batch":
                other = self.databases[(where + 1) % 3]
                await steps.merge(other, *map(row_of, database.tables.batches.values()))
            case "clean":
                (batch,) = (await batches.list_batches(limit=1)).batches or [None]
                if batch is not None and batch.status in {BatchStatus.COMPLETED, BatchStatus.CANCELLED}:
                    self.clocks[where].advance(700)
                    await batches.cleanup_old_records(self.clocks[where].now() - now, apply=True)
            case "skew":
                self.clocks[where].advance(-60)


def some(copies: dict[str, Body], count: int) -> list[Body]:
    bodies = list(copies.values())
    return bodies if len(bodies) <= count else [*bodies[: count // 2], *bodies[-(count - count // 2) :]]


def token(body: Body) -> str:
    return row_of(body).token


@settings(max_examples=60, deadline=None)
@given(histories)
def test_merging_is_commutative_associative_and_idempotent_over_legal_histories(history):
    apart = Apart()
    asyncio.run(apart.play(history))
    for copies in apart.seen.values():
        few = some(copies, 6)
        for body in few:
            assert merged(body, body) == body
            assert merged(None, body) == body
        for one, two in product(few, few):
            assert merged(one, two) == merged(two, one)
        for one, two, three in permutations(few[:5], 3):
            assert merged(merged(one, two), three) == merged(one, merged(two, three))


@settings(max_examples=60, deadline=None)
@given(histories)
def test_a_merge_is_never_below_what_it_merges(history):
    """The order itself: each database only ever rises in it, so no merge undoes a write."""
    apart = Apart()
    asyncio.run(apart.play(history))
    for copies in apart.seen.values():
        few = some(copies, 8)
        for one, two in product(few, few):
            both = merged(one, two)
            assert merged(both, one) == both
            assert merged(both, two) == both


@settings(max_examples=60, deadline=None)
@given(histories, st.permutations([(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)]))
def test_databases_converge_in_whatever_order_they_are_exchanged(history, order):
    apart = Apart()

    async def converge() -> None:
        await apart.play(history)
        for _ in range(3):
            for source, target in order:
                rows = sorted(
                    map(row_of, apart.databases[source].tables.all_rows()), key=lambda row: row.kind
                )
                await steps.merge(apart.databases[target], *rows)
        views = []
        for database in apart.databases:
            batch = await database.batches.get_batch(BATCH)
            documents = await database.documents.find_documents(
                [builders.version("file:///a", []).document_id]
            )
            records = await database.batches.get_processing_results(BATCH) if batch else None
            views.append((batch, records, documents))
        assert views[0] == views[1] == views[2]

    asyncio.run(converge())
