"""The processor of documents: what is unchanged is reused, the rest is prepared, embedded and published."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.document import Document
from gristmill.domain.failures import ItemError
from gristmill.domain.record import (
    EMBEDDING,
    EXTRACTING,
    PUBLISHING,
    Done,
    Outcome,
    Record,
    Result,
    Snooze,
    outcome_of,
)
from gristmill.pipeline.embed import Embedding, Vectors
from gristmill.pipeline.files import FileFacts, file_facts
from gristmill.pipeline.prepare import EmbedTexts, Prepared, Recipe, Task
from gristmill.pipeline.preparing import ItemLimits, Preparing, Sized
from gristmill.ports.documents import Documents, Published
from gristmill.ports.executor import Broken, Executor
from gristmill.ports.processor import Processed, ShowStage

KIND = "documents"
DEFAULT_COLLECTION = "default"


@dataclass(frozen=True, slots=True)
class _Job:
    """A claimed record with its task, its content as it was first seen, and for a file the facts about it."""

    record: Record
    task: Task
    content_hash: str
    size: int
    facts: FileFacts | None = None


class DocumentsProcessor:
    """Handles items of kind ``documents``.

    Payload: ``collection``, ``metadata`` (object), ``refresh`` (bool: also documents of an older extractor or
    chunker are made anew), and ``text`` for a text that is no file.
    """

    kind = KIND

    def __init__(
        self,
        documents: Documents,
        executor: Executor,
        *,
        recipe: Recipe,
        embedding: Embedding,
        limits: ItemLimits,
        chunks_per_write: int = 2048,
        snooze_seconds: float = 30.0,
    ) -> None:
        self._documents = documents
        self._recipe = recipe
        self._preparing = Preparing(executor, recipe, limits)
        self._vectors = Vectors(documents, executor, embedding, snooze_seconds=snooze_seconds)
        self._embedding = embedding
        self._snooze_seconds = snooze_seconds
        self._chunks_per_write = chunks_per_write
        # Grows with success: an embedder that fails is noticed at the first document, not after a whole group.
        self._chunks_at_once = 1
        self._embedder_works = False

    async def process(self, records: Sequence[Record], show_stage: ShowStage) -> AsyncIterator[Processed]:
        jobs: list[_Job] = []
        for job in await asyncio.to_thread(self._look_at, records):
            if isinstance(job, Processed):
                yield job
            else:
                jobs.append(job)
        changed: list[_Job] = []
        async for reused in self._reuse(jobs, changed):
            yield reused
        if changed:
            await show_stage([job.record for job in changed], EXTRACTING, 10)
        # Until the embedder is known to work, one document goes first and shows it.
        first = 0 if self._embedder_works else 1
        for group in (changed[:first], changed[first:]):
            async for processed in self._make(group, show_stage):
                yield processed

    # -- unchanged documents -------------------------------------------------------------------------

    def _look_at(self, records: Sequence[Record]) -> list[_Job | Processed]:
        return [self._job(record) for record in records]

    def _job(self, record: Record) -> _Job | Processed:
        task = task_of(record)
        try:
            if task.text is not None:
                content = task.text.encode("utf-8", "surrogatepass")
                return _Job(record, task, identity.content_hash(content), len(content))
            facts = file_facts(task.source, limit_bytes=self._recipe.max_file_bytes)
        except ItemError as error:
            return Processed(record, outcome_of(error.failure))
        return _Job(record, task, facts.content_hash, facts.size, facts)

    async def _reuse(self, jobs: Sequence[_Job], changed: list[_Job]) -> AsyncIterator[Processed]:
        """Finish what is stored already; what is not goes to ``changed``."""
        found = await self._documents.find_documents([job.task.document_id for job in jobs])
        metadata: dict[UUID, Mapping[str, object]] = {}
        done: list[Processed] = []
        for job in jobs:
            document = found.get(job.task.document_id)
            if document is None or not self._is_current(job, document):
                changed.append(job)
                continue
            merged = _merged_metadata(job, document)
            if merged != document.metadata:
                metadata[document.document_id] = merged
            done.append(Processed(job.record, Done(_reused(document))))
        if metadata:
            await self._documents.update_metadata(metadata)
        for processed in done:
            yield processed

    def _is_current(self, job: _Job, document: Document) -> bool:
        if document.content_hash != job.content_hash:
            return False
        return document.pipeline == self._recipe.pipeline or not job.record.payload.get("refresh")

    # -- changed documents ---------------------------------------------------------------------------

    async def _make(self, jobs: Sequence[_Job], show_stage: ShowStage) -> AsyncIterator[Processed]:
        waiting: list[tuple[Record, Prepared]] = []
        chunks = 0
        sized = [Sized(job.task, job.size) for job in jobs]
        async for at, result in self._preparing.run(sized, self._embed_texts):
            record = jobs[at].record
            match result:
                case Broken(_, failure, ran=False):
                    yield Processed(record, Snooze(self._snooze_seconds, failure))
                case Broken(_, failure):
                    yield Processed(record, outcome_of(failure))
                case _:
                    waiting.append((record, result))
                    chunks += len(result.version.chunks)
            if chunks >= self._chunks_at_once:
                async for processed in self._finish(waiting, show_stage):
                    yield processed
                waiting, chunks = [], 0
        async for processed in self._finish(waiting, show_stage):
            yield processed

    @property
    def _embed_texts(self) -> EmbedTexts | None:
        if self._embedding.where_prepared and self._embedder_works:
            return self._embedding.embed_texts
        return None

    async def _finish(
        self, group: Sequence[tuple[Record, Prepared]], show_stage: ShowStage
    ) -> AsyncIterator[Processed]:
        """Embed, commit and publish a group; every step may be repeated after a crash."""
        if not group:
            return
        unembedded = [record for record, prepared in group if prepared.vectors is None]
        await show_stage(unembedded, EMBEDDING, 50)
        failed = await self._vectors.make([prepared for _, prepared in group])
        self._embedder_works = not failed
        self._chunks_at_once = 1 if failed else min(2 * self._chunks_at_once, self._chunks_per_write)
        whole: list[tuple[Record, Prepared]] = []
        for record, prepared in group:
            outcome = failed.get(prepared.version.document_id)
            if outcome is None:
                whole.append((record, prepared))
            else:
                yield Processed(record, outcome)
        # What came with its vectors is live in a moment: to show this first would cost as much as its outcome.
        separately = [record for record, prepared in whole if prepared.vectors is None]
        await show_stage(separately, PUBLISHING, 90)
        for processed in await self._publish(whole):
            yield processed

    async def _publish(self, group: Sequence[tuple[Record, Prepared]]) -> list[Processed]:
        staged = await self._documents.stage_versions([prepared.version for _, prepared in group])
        # Two batches over one file may meet in a group: the version committed last is the wanted one.
        wanted = {
            prepared.version.document_id: each for (_, prepared), each in zip(group, staged, strict=True)
        }
        published = await self._documents.publish(wanted)
        return [
            Processed(record, _outcome(prepared, wanted[document].version, published[document]))
            for record, prepared in group
            for document in (prepared.version.document_id,)
        ]


def task_of(record: Record) -> Task:
    """What a record asks to be prepared; its document id is derived from collection and source."""
    payload = record.payload
    collection = str(payload.get("collection", DEFAULT_COLLECTION))
    text = payload.get("text")
    metadata = payload.get("metadata")
    given = None if text is None else str(text)
    source = record.source or identity.text_source(given or record.item_id)
    return Task(
        document_id=identity.document_id(collection, source),
        collection=collection,
        source=source,
        text=given,
        metadata=metadata if isinstance(metadata, Mapping) else {},
    )


def _merged_metadata(job: _Job, document: Document) -> dict[str, object]:
    fresh: dict[str, object] = {}
    if job.facts is not None:
        fresh = {"modified": job.facts.modified.isoformat()}
    return {**document.metadata, **fresh, **job.task.metadata}


def _reused(document: Document) -> Result:
    return Result(
        document_id=document.document_id, version=document.version, chunks=document.chunks, reused=True
    )


def _outcome(prepared: Prepared, live: str, published: Published) -> Outcome:
    version = prepared.version
    if published is Published.INCOMPLETE and live == version.version:
        # Someone removed a vector between our making it and now: make it again, at no cost to the item.
        return Snooze(seconds=1.0)
    result = Result(
        document_id=version.document_id,
        version=version.version,
        chunks=len(version.chunks),
        superseded=published is Published.SUPERSEDED or live != version.version,
        warnings=prepared.warnings,
    )
    return Done(result)
