"""Ingesting files and texts: submit a batch, work on it, prune what is gone."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from gristmill.domain import identity
from gristmill.domain.batch import Batch, NewBatch
from gristmill.domain.document import Document
from gristmill.domain.record import Item
from gristmill.engine.core import Core
from gristmill.engine.liveness import submitter_text, this_process
from gristmill.engine.submit import Submission, submit
from gristmill.pipeline.documents import DEFAULT_COLLECTION, KIND
from gristmill.pipeline.select import Selected, Selection, Skipped, item_id_of, path_of, select, source_of
from gristmill.ports.errors import GristmillError, StoreUnavailableError

PRUNE_PAGE = 500
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
MOST_PATHS_KEPT = 100


class PathNotFoundError(GristmillError):
    """A path to ingest is not there; nothing was created."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        shown = source_of(self.path) or "an empty path"
        return f"There is nothing at {shown}. Check the path; nothing was submitted."


class OtherCollectionError(GristmillError):
    """A batch goes on with another collection than it began with; nothing was changed."""

    def __init__(self, batch_id: UUID, stored: str | None, given: str) -> None:
        super().__init__(batch_id, stored, given)
        self.batch_id = batch_id
        self.stored = stored
        self.given = given

    def __str__(self) -> str:
        return (
            f"Batch {self.batch_id} ingests into collection '{self.stored}', not '{self.given}'. "
            "Name that collection, or leave the batch id out to start another batch."
        )


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """``batch_id`` None draws one. ``max_error_rate`` in percent. ``refresh`` also makes stale documents anew."""

    paths: Sequence[str]
    collection: str = DEFAULT_COLLECTION
    selection: Selection = field(default_factory=Selection)
    metadata: Mapping[str, object] = field(default_factory=dict)
    batch_id: UUID | None = None
    name: str | None = None
    priority: int = 0
    max_error_rate: float | None = None
    refresh: bool = False


@dataclass(slots=True)
class Ingest:
    """An ingest under way. ``skipped`` grows while the walk goes on."""

    batch_id: UUID
    skipped: list[Skipped] = field(default_factory=list)
    selected: int = 0
    submission: Submission | None = None


def dry_run(request: IngestRequest) -> tuple[list[Selected], list[Skipped]]:
    """What ``start`` would submit and what it would leave out. Raises PathNotFoundError."""
    check_paths(request.paths)
    selected: list[Selected] = []
    skipped: list[Skipped] = []
    for found in select(request.paths, request.selection):
        selected.append(found) if isinstance(found, Selected) else skipped.append(found)
    return selected, skipped


async def ingest_paths(
    core: Core, request: IngestRequest, *, wait: bool = True, on_start: Callable[[Ingest], None] | None = None
) -> Ingest:
    """Submit the files under the paths and, with ``wait``, work on the batch until it has ended.

    ``on_start`` is called once the batch exists. Raises PathNotFoundError and OtherCollectionError before
    anything is created, BatchConflictError, CollectionConflictError, StoreUnavailableError.
    """
    check_paths(request.paths)
    await _check_collection(core, request)
    ingest = Ingest(request.batch_id or uuid4())
    await core.database.documents.open_collection(request.collection, core.embedding)
    await _create(core, ingest.batch_id, request)
    if on_start is not None:
        on_start(ingest)
    await _submit_and_work(core, ingest, _items(request, ingest), wait=wait)
    return ingest


async def ingest_items(core: Core, items: Sequence[Item], new: NewBatch, *, wait: bool = True) -> Ingest:
    """Submit items of any kind that has a processor. Raises GristmillError for an unknown kind."""
    unknown = {item.kind for item in items} - set(core.processors)
    if unknown:
        known = ", ".join(sorted(core.processors))
        raise GristmillError(f"No processor for kind {min(unknown)!r}; there are: {known}.")
    ingest = Ingest(new.batch_id, selected=len(items))
    await core.database.batches.create_batch(replace(new, submitter=new.submitter or _submitter(core)))
    await _submit_and_work(core, ingest, items, wait=wait)
    return ingest


async def work_on(core: Core, batch_id: UUID | None = None, *, max_items: int | None = None) -> None:
    """Work until the batch has ended, or without one until nothing is left to do; on at most so many items."""
    await core.new_worker().run(batch_id, max_items=max_items)


async def work_for_ever(core: Core, *, on_outage: Callable[[StoreUnavailableError, float], None]) -> None:
    """Work on whatever comes, until cancelled. ``on_outage`` is told of each outage and the seconds to the next try."""
    pause = _FIRST_PAUSE_SECONDS
    worker = core.new_worker()
    while True:
        started = core.clock.monotonic()
        try:
            await worker.run(stay=True)
        except StoreUnavailableError as error:
            if core.clock.monotonic() - started > _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            on_outage(error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def prune(core: Core, request: IngestRequest, ingest: Ingest) -> int:
    """Delete documents whose file is gone from under the ingested folders; returns how many.

    Raises GristmillError if nothing was found at all: an unmounted disk looks like an emptied folder.
    """
    folders = _folders(request.paths)
    if folders and not ingest.selected:
        raise GristmillError(
            f"Nothing was found under {folders[0]}, so nothing is pruned: it may not be mounted. "
            "Delete documents by `gristmill documents delete` if that is what you want."
        )
    return sum([await _prune_folder(core, request.collection, folder) for folder in folders])


async def _prune_folder(core: Core, collection: str, folder: str) -> int:
    documents, after, gone = core.database.documents, None, list[UUID]()
    while True:
        page = await documents.list_documents(
            collection, limit=PRUNE_PAGE, after=after, under=source_of(folder.rstrip("/") + "/")
        )
        gone += await asyncio.to_thread(_gone, page.documents)
        after = page.after
        if after is None:
            return await documents.delete_documents(gone)


def _folders(paths: Sequence[str]) -> list[str]:
    return [os.path.abspath(path) for path in paths if os.path.isdir(path)]


def _gone(documents: Sequence[Document]) -> list[UUID]:
    return [each.document_id for each in documents if not os.path.lexists(path_of(each.source))]


def _options(request: IngestRequest) -> dict[str, object]:
    """What was asked for, so that it can be asked for again; ``paths`` is left out when there are too many."""
    options: dict[str, object] = {
        "patterns": list(request.selection.patterns),
        "excludes": list(request.selection.excludes),
        "metadata": dict(request.metadata),
        "refresh": request.refresh,
    }
    if len(request.paths) <= MOST_PATHS_KEPT:
        options["paths"] = [source_of(os.path.abspath(path)) for path in request.paths]
    return options


def check_paths(paths: Sequence[str]) -> None:
    """Raise PathNotFoundError for the first path that is not there."""
    for path in paths:
        if not os.path.lexists(path):
            raise PathNotFoundError(path)


async def _check_collection(core: Core, request: IngestRequest) -> None:
    if request.batch_id is None:
        return
    batch = await core.database.batches.get_batch(request.batch_id)
    if batch is not None and batch.collection != request.collection:
        raise OtherCollectionError(request.batch_id, batch.collection, request.collection)


async def _create(core: Core, batch_id: UUID, request: IngestRequest) -> Batch:
    return await core.database.batches.create_batch(
        NewBatch(
            batch_id=batch_id,
            kind=KIND,
            name=request.name,
            collection=request.collection,
            priority=request.priority,
            max_error_rate=request.max_error_rate,
            options=_options(request),
            submitter=_submitter(core),
        )
    )


def _submitter(core: Core) -> str:
    return submitter_text(this_process(now=core.clock.now()))


def _items(request: IngestRequest, ingest: Ingest) -> Iterator[Item]:
    payload: dict[str, object] = {"collection": request.collection}
    if request.metadata:
        payload["metadata"] = dict(request.metadata)
    if request.refresh:
        payload["refresh"] = True
    for found in select(request.paths, request.selection):
        if isinstance(found, Skipped):
            ingest.skipped.append(found)
        else:
            ingest.selected += 1
            yield Item(item_id_of(found.source), KIND, found.source, payload)


def text_item(text: str, *, collection: str, source: str | None, metadata: Mapping[str, object]) -> Item:
    source = source or identity.text_source(text)
    payload = {"collection": collection, "text": text, "metadata": dict(metadata)}
    return Item(item_id_of(source), KIND, source, payload)


async def _submit_and_work(core: Core, ingest: Ingest, items: Iterable[Item], *, wait: bool) -> None:
    """The worker starts with the first records, while the rest is still being submitted."""
    batches = core.database.batches
    if not wait:
        ingest.submission = await submit(batches, ingest.batch_id, items)
        await core.end_batches(ingest.batch_id)  # An empty one, or one that a worker has finished meanwhile.
        return
    worker = core.new_worker()
    working = asyncio.create_task(worker.run(ingest.batch_id))
    try:
        ingest.submission = await submit(batches, ingest.batch_id, items, on_slice=worker.wake)
        await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
