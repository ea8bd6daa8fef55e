"""The invariants that one machine can break, each by its name, on every database there is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from gristmill.commands.ingest import IngestRequest, ingest_items, ingest_paths, text_item
from gristmill.domain.batch import NewBatch
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Item, RecordStatus, Report, Retry
from gristmill.engine.core import Core
from gristmill.engine.liveness import this_process
from gristmill.executors.inline import InlineExecutor
from gristmill.insights.search import SearchRequest, SearchType, search
from gristmill.pipeline.select import Selection
from gristmill.ports.errors import CollectionNotFoundError, StoreUnavailableError
from gristmill.settings import Settings
from gristmill.stores.memory import MemoryDatabase
from gristmill.wiring import build
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def core(request, tmp_path, clock) -> AsyncIterator[Core]:
    database = MemoryDatabase(clock) if request.param == "memory" else await new_sqlite(tmp_path, clock)
    settings = Settings(home=tmp_path / "home", embedder="wordllama", retry_delay_seconds=0)
    core = build(settings, database=database, executor=InlineExecutor(), clock=clock)
    await core.database.documents.open_collection("default", core.embedding)
    yield core
    await core.close()


def note(number: int, words: str = "a note about cranes") -> Item:
    return text_item(f"{words} number {number}", collection="default", source=f"note:{number}", metadata={})


async def submitted(core, items, **options):
    new = NewBatch(batch_id=uuid4(), kind=items[0].kind, **options)
    await core.database.batches.create_batch(new)
    await core.database.batches.create_processing_records(new.batch_id, items)
    await core.database.batches.seal_batch(new.batch_id)
    return new.batch_id


async def texts(core, query: str) -> list[str]:
    answer = await search(core, SearchRequest(query, SearchType.TEXT, limit=100))
    return [found.hit.text for found in answer.results]


async def ignore_stage(*_):
    return None


async def test_invariant_2_work_may_run_twice_and_its_effect_appears_once(core, clock):
    """A worker dies after publishing and before writing its outcomes; another does it all again."""
    batch_id = await submitted(core, [note(number) for number in range(5)])
    dead = replace(this_process(now=clock.now()), worker_id="dead", pid=2**22 - 7)
    await core.database.batches.renew_lease(dead)
    held = await core.database.batches.claim_records("dead", limit=5)
    outcomes = [each.outcome async for each in core.processors["documents"].process(held, ignore_stage)]
    assert {type(outcome) for outcome in outcomes} == {Done}

    await core.new_worker().run(batch_id)

    view = await core.database.batches.batch_status_view(batch_id)
    assert (view.completed_count, view.total_documents) == (5, 5)
    assert len(await texts(core, "cranes")) == 5
    (summary,) = await core.database.documents.list_collections()
    assert (summary.documents, summary.chunks) == (5, 5)


async def test_invariant_3_no_state_goes_backwards(core, clock):
    """Late outcomes are refused, attempts stay under their cap, failures come back only by an explicit retry."""
    batches = core.database.batches
    batch_id = await submitted(core, [Item("only", "things")])
    seen = []
    for attempt in range(1, core.retry_policy.max_attempts + 1):
        clock.advance(3600)
        (held,) = await batches.claim_records("w", limit=1)
        assert held.attempts == attempt
        seen.append(held)
        failure = Failure(FailureCategory.TIMEOUT, "too slow")
        assert not await batches.update_processing_status([Report(held, Retry(failure))])
    clock.advance(3600)
    assert not await batches.claim_records("w", limit=1)

    for late in seen:
        (refusal,) = await batches.update_processing_status([Report(late, Done())])
        assert refusal.met.status is RecordStatus.FAILED
    assert [record.version for record in seen] == sorted(record.version for record in seen)

    assert await batches.retry_failed(batch_id) == 1
    (again,) = await batches.claim_records("w", limit=1)
    assert (again.attempts, again.round) == (1, 1)
    (refusal,) = await batches.update_processing_status([Report(seen[-1], Failed(failure))])
    assert refusal.met.version == again.version


async def test_invariant_4_counters_add_up_at_every_instant(core):
    items = [note(number) for number in range(150)]
    items += [Item(f"gone-{number}", "documents", f"/nowhere/{number}.txt", {}) for number in range(50)]
    batch_id = await submitted(core, items)
    running = asyncio.create_task(core.new_worker().run(batch_id))
    looks = 0
    while not running.done():
        progress = await core.database.batches.get_processing_progress(batch_id)
        view = await core.database.batches.batch_status_view(batch_id)
        assert progress.counters.total == view.total_documents == 200
        assert (
            view.queued_count
            + view.in_progress_count
            + view.completed_count
            + view.failed_count
            + view.cancelled_count
            == 200
        )
        looks += 1
        await asyncio.sleep(0)
    await running
    assert looks > 5
    view = await core.database.batches.batch_status_view(batch_id)
    assert (view.completed_count, view.failed_count) == (150, 50)


async def test_invariant_6_one_bad_item_costs_one_item(core, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.txt").write_text(f"A sound file about bridges, number {number}.")
    (tmp_path / "07.txt").write_bytes(b"")
    done = await ingest_paths(core, IngestRequest([str(tmp_path)], selection=Selection(("*.txt",))))
    page = await core.database.batches.get_processing_results(done.batch_id)
    by_status = {record.item_id: (record.status, record.attempts) for record in page.records}
    assert by_status.pop(str(tmp_path / "07.txt")) == (RecordStatus.FAILED, 1)
    assert set(by_status.values()) == {(RecordStatus.COMPLETED, 1)}


async def test_invariant_8_search_never_shows_half_a_document(core):
    """A long document is replaced again and again while it is searched."""

    def item(word: str) -> Item:
        paragraphs = "\n\n".join(f"lighthouse {word} " + "wave " * 210 for _ in range(4))
        return text_item(paragraphs, collection="default", source="note:long", metadata={})

    async def replace_often() -> None:
        for round_ in range(6):
            word = "stone" if round_ % 2 else "brick"
            await ingest_items(core, [item(word)], NewBatch(batch_id=uuid4(), kind="documents"))

    await ingest_items(core, [item("stone")], NewBatch(batch_id=uuid4(), kind="documents"))
    replacing = asyncio.create_task(replace_often())
    seen = set()
    while not replacing.done():
        words = [text.split()[1] for text in await texts(core, "lighthouse")]
        assert len(words) == 4
        assert len(set(words)) == 1
        seen |= set(words)
        await asyncio.sleep(0)
    await replacing
    assert seen == {"brick", "stone"}


async def test_invariant_9_unknown_is_said_and_not_guessed(core, monkeypatch):
    await ingest_items(core, [note(1)], NewBatch(batch_id=uuid4(), kind="documents"))
    with pytest.raises(CollectionNotFoundError):
        await search(core, SearchRequest("cranes", collection="elsewhere"))

    def no_model():
        raise OSError("the model file is gone")

    answer = await search(replace(core, load_embedder=no_model), SearchRequest("cranes"))
    assert (answer.degraded, len(answer.results)) == (True, 1)
    assert "the model file is gone" in answer.reason

    async def down(_query):
        raise StoreUnavailableError("sqlite", "the disk is gone", "Plug it in.")

    monkeypatch.setattr(type(core.database.documents), "search", lambda _self, query: down(query))
    with pytest.raises(StoreUnavailableError):
        await search(core, SearchRequest("cranes"))
