"""From files to live versions: what is made, what is reused, and what one bad file costs."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from gristmill.commands.ingest import IngestRequest, ingest_items, ingest_paths, prune, text_item
from gristmill.domain.batch import BatchStatus, NewBatch
from gristmill.domain.failures import Failure, FailureCategory, ItemError
from gristmill.domain.hold import HOLD_AFTER
from gristmill.domain.record import Item, RecordStatus
from gristmill.domain.retry import RetryPolicy
from gristmill.executors.inline import InlineExecutor
from gristmill.insights.doctor import examine
from gristmill.insights.search import SearchRequest, SearchType, search
from gristmill.pipeline.prepare import prepare, prepare_together
from gristmill.ports.clock import SystemClock
from gristmill.ports.errors import CollectionConflictError, CollectionNotFoundError, GristmillError
from gristmill.ports.executor import Broken, Call, Returned
from gristmill.settings import Settings
from gristmill.stores.memory import MemoryDatabase
from gristmill.wiring import build

PREPARING = (prepare, prepare_together)


class CountingExecutor(InlineExecutor):
    """Runs calls here; counts them by function, and breaks embedding calls that hold a poisoned text."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[str] = []
        self.embedded: list[str] = []
        self.calls: list[Call] = []
        self.poison: str | None = None

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        self.calls += calls
        for call in calls:
            if call.function in PREPARING:
                given, recipe, embed_texts = call.arguments
                self.prepared += [task.source for task in (given if isinstance(given, tuple) else (given,))]
                beside = embed_texts and partial(self._embed, embed_texts)
                counted = replace(call, arguments=(given, recipe, beside))
            else:
                counted = replace(call, function=partial(self._embed, call.function))
            async for result in super().run([counted]):
                yield result

    def _embed(self, embed_texts, texts):
        if self.poison and any(self.poison in text for text in texts):
            raise ItemError(FailureCategory.PROVIDER_INPUT, "poisoned")
        self.embedded += texts
        return embed_texts(texts)

    def forget(self) -> None:
        self.prepared, self.embedded = [], []


@pytest.fixture
def executor():
    return CountingExecutor()


@pytest.fixture
async def core(request, executor, tmp_path):
    """Embeds where it prepares, unless another embedder is asked for by parameter."""
    embedder = getattr(request, "param", "wordllama")
    settings = Settings(home=tmp_path / "home", embedder=embedder, retry_delay_seconds=0, snooze_seconds=0.3)
    policy = RetryPolicy(first_delay_seconds=0, snooze_seconds=0.3)
    database = MemoryDatabase(SystemClock(), retry_policy=policy)
    core = build(settings, database=database, executor=executor)
    await core.open()
    yield core
    await core.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nThe pump is primed with two litres of water.\n")
    (folder / "valve.txt").write_text("The valve opens at three bar.\n")
    return folder


async def ingest(core, *paths, **options):
    return await ingest_paths(core, IngestRequest([str(path) for path in paths], **options))


async def texts(core, query, **options) -> list[str]:
    answer = await search(core, SearchRequest(query, SearchType.TEXT, **options))
    return [found.hit.text for found in answer.results]


async def view_of(core, ingest):
    return await core.database.batches.batch_status_view(ingest.batch_id)


async def test_files_become_searchable_with_their_metadata(core, folder):
    await ingest(core, folder, metadata={"site": "north"})
    answer = await search(core, SearchRequest("how is the pump primed"))
    hit = answer.results[0].hit
    assert (hit.source, hit.title) == (str(folder / "pump.md"), "Pump")
    assert hit.text == "# Pump\n\nThe pump is primed with two litres of water."
    assert {"path", "name", "type", "size", "modified", "title", "language", "site"} <= set(hit.metadata)
    assert (hit.metadata["type"], hit.metadata["site"]) == ("md", "north")


async def test_unchanged_files_cost_no_extraction_and_no_embedding(core, folder, executor):
    await ingest(core, folder)
    executor.forget()
    again = await ingest(core, folder)
    assert (executor.prepared, executor.embedded) == ([], [])
    page = await core.database.batches.get_processing_results(again.batch_id)
    assert all(record.result.reused for record in page.records)


async def test_a_touched_file_keeps_its_text_and_shows_its_new_time(core, folder, executor):
    await ingest(core, folder)
    executor.forget()
    os.utime(folder / "valve.txt", (1_700_000_000, 1_700_000_000))
    await ingest(core, folder)
    found = await core.database.documents.list_documents("default", limit=10)
    valve = next(each for each in found.documents if each.source.endswith("valve.txt"))
    assert valve.metadata["modified"] == "2023-11-14T22:13:20+00:00"
    assert executor.prepared == []


async def test_texts_of_a_cheap_embedder_are_embedded_where_they_are_prepared(tmp_path):
    alone = []

    class Watching(InlineExecutor):
        async def run(self, calls):
            alone.extend(call for call in calls if call.function not in PREPARING)
            async for result in super().run(calls):
                yield result

    for n in range(5):
        (tmp_path / f"{n}.txt").write_text(f"Number {n} is a number.")
    settings = Settings(home=tmp_path / "home", embedder="wordllama")
    core = build(settings, database=MemoryDatabase(SystemClock()), executor=Watching())
    await core.open()
    await ingest(core, *tmp_path.glob("*.txt"))
    assert len(alone) == 1  # The first, which showed that the embedder works.
    answer = await search(core, SearchRequest("number", SearchType.VECTOR))
    assert len(answer.results) == 5
    await core.close()


@pytest.mark.parametrize("core", ["usem3"], indirect=True)
async def test_a_renamed_file_costs_no_embedding(core, folder, executor):
    await ingest(core, folder)
    executor.forget()
    (folder / "pump.md").rename(folder / "renamed.md")
    await ingest(core, folder)
    assert executor.prepared == [str(folder / "renamed.md")]
    assert executor.embedded == []


async def test_a_changed_file_replaces_its_old_text(core, folder):
    await ingest(core, folder)
    (folder / "valve.txt").write_text("The valve now opens at five bar.\n")
    await ingest(core, folder)
    assert await texts(core, "valve opens") == ["The valve now opens at five bar."]


async def test_new_metadata_reaches_unchanged_files(core, folder, executor):
    await ingest(core, folder)
    executor.forget()
    await ingest(core, folder, metadata={"shelf": "7"})
    assert await texts(core, "valve", filters={"shelf": ["7"]}) == ["The valve opens at three bar."]
    assert executor.prepared == []


async def test_one_text_that_cannot_be_embedded_costs_one_document(core, folder, executor):
    """Invariant 6, in the embedding stage: slices mix documents."""
    executor.poison = "three bar"
    done = await ingest(core, folder)
    view = await view_of(core, done)
    assert (view.completed_count, view.failed_count) == (1, 1)
    assert view.top_error_types[0].category == "provider_input"
    assert await texts(core, "pump primed")


async def test_a_version_that_fails_leaves_the_old_one_answering(core, folder, executor):
    await ingest(core, folder)
    (folder / "valve.txt").write_text("The valve is poisoned.\n")
    executor.poison = "poisoned"
    await ingest(core, folder)
    assert await texts(core, "valve") == ["The valve opens at three bar."]


@pytest.mark.parametrize("core", ["usem3"], indirect=True)
async def test_the_same_text_in_two_files_is_embedded_once(core, tmp_path, executor):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("One and the same sentence about gaskets.")
    await ingest(core, tmp_path / "a.txt", tmp_path / "b.txt")
    assert len(executor.embedded) == 1
    assert len(await texts(core, "gaskets")) == 2


async def test_two_batches_over_one_folder_at_once_make_every_document_once(core, folder):
    """Invariant 2: the work may run twice, its effect appears once."""
    first, second = await asyncio.gather(ingest(core, folder), ingest(core, folder))
    for done in (first, second):
        assert (await view_of(core, done)).batch_status is BatchStatus.COMPLETED
    page = await core.database.documents.list_documents("default", limit=10)
    assert len(page.documents) == 2
    assert len(await texts(core, "valve opens")) == 1


async def test_prune_deletes_what_is_gone_and_nothing_else(core, folder, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("An outside note about gutters.")
    await ingest(core, folder, outside)
    (folder / "valve.txt").unlink()
    outside.unlink()
    request = IngestRequest([str(folder)])
    assert await prune(core, request, await ingest(core, folder)) == 1
    assert not await texts(core, "valve")
    assert await texts(core, "gutters")


async def test_prune_refuses_when_nothing_is_found(core, folder):
    await ingest(core, folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(GristmillError, match="not be mounted"):
        await prune(core, IngestRequest([str(folder)]), await ingest(core, folder))
    assert await texts(core, "valve")


async def test_refresh_makes_stale_documents_anew(core, folder, executor, tmp_path):
    await ingest(core, folder)
    settings = Settings(home=tmp_path / "home", embedder="wordllama", chunk_size=500)
    newer = build(settings, database=core.database, executor=executor)
    assert await newer.database.documents.count_stale(newer.pipeline) == 2
    executor.forget()
    await ingest(newer, folder)
    assert executor.prepared == []
    await ingest(newer, folder, refresh=True)
    assert len(executor.prepared) == 2
    assert await newer.database.documents.count_stale(newer.pipeline) == 0


async def test_texts_are_documents_too_and_a_source_is_replaced(core):
    for content in ("The attic is dry.", "The attic is damp."):
        item = text_item(content, collection="default", source="note:attic", metadata={"by": "ann"})
        await core.database.documents.open_collection("default", core.embedding)
        await ingest_items(core, [item], NewBatch(batch_id=uuid4(), kind="documents"))
    assert await texts(core, "attic", filters={"by": ["ann"]}) == ["The attic is damp."]


async def test_a_collection_keeps_its_embedder(core, folder, tmp_path, executor):
    await ingest(core, folder)
    settings = Settings(home=tmp_path / "home", embedder="usem3")
    other = build(settings, database=core.database, executor=executor)
    with pytest.raises(CollectionConflictError, match="Choose another --collection"):
        await ingest(other, folder)
    with pytest.raises(CollectionConflictError):
        await search(other, SearchRequest("pump"))


async def test_search_says_when_only_text_could_answer(core, folder):
    """Invariant 9: an answer that is less than was asked for says so."""
    await ingest(core, folder)

    def broken():
        raise OSError("the model file is gone")

    answer = await search(replace(core, load_embedder=broken), SearchRequest("pump primed"))
    assert answer.degraded
    assert "model file is gone" in answer.reason
    assert answer.results


async def test_an_unknown_collection_is_an_error_not_an_empty_answer(core, folder):
    """Invariant 9."""
    with pytest.raises(CollectionNotFoundError):
        await search(core, SearchRequest("pump", collection="nowhere"))


async def test_a_file_that_vanished_fails_alone_and_says_so(core, folder):
    items = [text_item("Fine.", collection="default", source=None, metadata={})]
    gone = str(folder / "gone.txt")
    items.append(Item(gone, "documents", gone, {"collection": "default"}))
    await core.database.documents.open_collection("default", core.embedding)
    done = await ingest_items(core, items, NewBatch(batch_id=uuid4(), kind="documents"))
    view = await view_of(core, done)
    assert (view.completed_count, view.failed_count) == (1, 1)
    assert "gone.txt is gone" in view.error_messages


async def held(core, batch_id) -> bool:
    batch = await core.database.batches.get_batch(batch_id)
    return batch is not None and batch.hold.held


async def test_broken_embedder_holds_the_batch_within_twenty_items_and_costs_no_attempt(
    core, tmp_path, executor
):
    """Early stop: and once it is mended, the batch goes on by itself."""
    for number in range(100):
        (tmp_path / f"{number:03}.txt").write_text(f"Page number {number} of the manual.\n")
    executor.poison = " "  # Every text, that of the probe too.
    request = IngestRequest(paths=[str(tmp_path)], batch_id=uuid4())
    running = asyncio.create_task(ingest_paths(core, request))
    async with asyncio.timeout(20):
        while not await held(core, request.batch_id):  # noqa: ASYNC110 - as a user would.
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    page = await core.database.batches.get_processing_results(request.batch_id, limit=200)
    tried = [record for record in page.records if record.error is not None]
    assert len(tried) <= HOLD_AFTER + core.worker.lanes - 1  # Each other lane may have had one in hand.
    assert {record.attempts for record in page.records if record.status is RecordStatus.PENDING} == {0}
    problems = [problem.why for problem in await examine(core)]
    assert any("The embedder fails: poisoned" in why for why in problems)
    executor.poison = None
    async with asyncio.timeout(20):
        await running
    view = await core.database.batches.batch_status_view(request.batch_id)
    assert (view.completed_count, view.failed_count, view.max_retries) == (100, 0, 0)


async def test_small_documents_go_together_and_one_that_cannot_be_read_costs_the_others_nothing(
    core, tmp_path, executor
):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(f"Page number {number} of the manual.\n")
    (folder / "20.txt").write_bytes(b"\x00" * 100)
    (folder / "30.txt").write_text("A long page. " * 4_000)
    done = await ingest(core, folder)
    page = await core.database.batches.get_processing_results(done.batch_id, limit=100)
    ends = {Path(record.source).name: (record.status, record.attempts) for record in page.records}
    assert ends.pop("20.txt")[0] is RecordStatus.FAILED
    assert set(ends.values()) == {(RecordStatus.COMPLETED, 1)}
    assert Counter(executor.prepared) == {str(path): 1 + (path.name == "20.txt") for path in folder.iterdir()}
    assert len(executor.calls) < 12  # Not forty.
    answer = await search(core, SearchRequest("page number 7 of the manual", SearchType.VECTOR, limit=1))
    assert answer.results[0].hit.source.endswith("07.txt")  # Everyone has the vectors of its own texts.


async def test_one_bad_text_beside_a_working_embedder_is_charged_to_its_document(core, folder, executor):
    executor.poison = "valve"
    done = await ingest(core, folder)
    view = await core.database.batches.batch_status_view(done.batch_id)
    assert (view.completed_count, view.failed_count) == (1, 1)


@pytest.mark.parametrize("rows", [[[0.0]], [], [[float("nan")] * 256]], ids=["shape", "count", "nan"])
async def test_embedder_that_breaks_its_contract_is_noticed(core, folder, rows):
    class Wrong(CountingExecutor):
        async def run(self, calls):
            async for result in super().run(calls):
                is_vector = isinstance(result, Returned) and hasattr(result.value, "dtype")
                yield Returned(result.key, rows) if is_vector else result

    wrong = build(
        Settings(home=folder.parent / "home", embedder="wordllama", snooze_seconds=0.05),
        database=core.database,
        executor=Wrong(),
    )
    running = asyncio.create_task(
        ingest_paths(wrong, IngestRequest(paths=[str(folder)], batch_id=(batch_id := uuid4())))
    )
    async with asyncio.timeout(20):
        while not (groups := await errors_of(core, batch_id)):  # noqa: ASYNC110 - as a user would.
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert groups == {FailureCategory.PROVIDER_TRANSIENT}


async def errors_of(core, batch_id) -> set[FailureCategory]:
    if await core.database.batches.get_batch(batch_id) is None:
        return set()
    page = await core.database.batches.get_processing_results(batch_id)
    return {record.error.category for record in page.records if record.error is not None}


async def test_work_that_no_process_could_be_started_for_costs_no_attempt(core, folder, tmp_path):
    class Full(InlineExecutor):
        tries = 0

        async def run(self, calls):
            self.tries += 1
            for call in calls:
                if self.tries == 1:
                    full = Failure(FailureCategory.INTERNAL, "No pool process could be started.")
                    yield Broken(call.key, full, ran=False)
                    continue
                async for result in super().run([call]):
                    yield result

    settings = Settings(home=tmp_path / "home", embedder="wordllama", snooze_seconds=0.05)
    crowded = build(settings, database=core.database, executor=Full())
    request = IngestRequest(paths=[str(folder)], batch_id=uuid4())
    await ingest_paths(crowded, request)
    page = await core.database.batches.get_processing_results(request.batch_id)
    assert {(record.status, record.attempts) for record in page.records} == {(RecordStatus.COMPLETED, 1)}
