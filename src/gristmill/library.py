"""Gristmill from Python: ``Gristmill`` for asyncio, ``SemanticCore`` for plain code."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

from gristmill import settings as settings_module
from gristmill import wiring
from gristmill.commands import batches, documents
from gristmill.commands import ingest as ingesting
from gristmill.domain.batch import BatchStatusView, NewBatch
from gristmill.domain.record import Item
from gristmill.engine.announce import Listener
from gristmill.engine.core import Core
from gristmill.insights import batches as batch_insights
from gristmill.insights.search import Answer, SearchRequest, SearchType
from gristmill.insights.search import search as search_insight
from gristmill.pipeline.documents import DEFAULT_COLLECTION, KIND
from gristmill.pipeline.select import Selection, Skipped

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Document:
    """A text to ingest. ``source`` names it: the same source again replaces the text.

    Without a source, its name is its content, so that another text is another document.
    """

    content: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a batch stands: the columns of the status view, and the files that were left out with the reason."""

    batch_id: UUID
    view: BatchStatusView
    skipped: Sequence[Skipped]


class Gristmill:
    """One installation; use it as an async context manager.

    ``home`` and every other setting may be given by keyword; the rest comes from the environment and
    gristmill.toml. Errors are ``gristmill.GristmillError``.
    """

    def __init__(self, **settings: Any) -> None:
        self._core = wiring.build(settings_module.load(**settings))

    @property
    def core(self) -> Core:
        """What commands and insights take, for what this class has no method for."""
        return self._core

    async def __aenter__(self) -> Self:
        await self._core.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._core.close()

    def on_batch_end(self, listener: Listener) -> None:
        """Call ``listener`` with a ``BatchEnded`` at the end of each round of a batch.

        At least once, always under the same ``event_id``; ends that came while nobody listened are told later, when
        any work is done. A plain function runs in a thread. One that raises is called again.
        """
        self._core.listeners.append(listener)

    async def ingest(
        self, *given: Document, collection: str = DEFAULT_COLLECTION, batch_id: UUID | None = None
    ) -> Report:
        """Ingest texts as one batch and wait for its end."""
        items = [
            ingesting.text_item(
                each.content, collection=collection, source=each.source, metadata=each.metadata
            )
            for each in given
        ]
        await self._core.database.documents.open_collection(collection, self._core.embedding)
        return await self.submit(items, collection=collection, batch_id=batch_id)

    async def ingest_path(
        self,
        *paths: str | Path,
        collection: str = DEFAULT_COLLECTION,
        patterns: Sequence[str] = (),
        excludes: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        batch_id: UUID | None = None,
        refresh: bool = False,
        wait: bool = True,
    ) -> Report:
        """Ingest files and folders. Raises PathNotFoundError before anything is created."""
        request = ingesting.IngestRequest(
            paths=[str(path) for path in paths],
            collection=collection,
            selection=Selection(patterns, excludes),
            metadata=metadata or {},
            batch_id=batch_id,
            refresh=refresh,
        )
        return await self._report(await ingesting.ingest_paths(self._core, request, wait=wait))

    async def submit(
        self,
        items: Sequence[Item],
        *,
        kind: str = KIND,
        collection: str | None = None,
        batch_id: UUID | None = None,
        wait: bool = True,
    ) -> Report:
        """Submit items of any kind that has a processor."""
        new = NewBatch(batch_id=batch_id or uuid4(), kind=kind, collection=collection)
        return await self._report(await ingesting.ingest_items(self._core, items, new, wait=wait))

    async def search(
        self,
        query: str,
        *,
        type: str = SearchType.HYBRID,  # noqa: A002 - the word of the CLI and REST.
        limit: int = 10,
        collection: str = DEFAULT_COLLECTION,
        filters: Mapping[str, Sequence[str] | str] | None = None,
    ) -> Answer:
        """Search the live versions of a collection's documents."""
        accepted = {
            key: [value] if isinstance(value, str) else list(value) for key, value in (filters or {}).items()
        }
        request = SearchRequest(query, SearchType(type), limit, collection, accepted)
        return await search_insight(self._core, request)

    async def delete(self, *document_ids: UUID) -> int:
        """Delete documents; returns how many. Raises DocumentNotFoundError before anything is deleted."""
        return await documents.delete(self._core, document_ids)

    async def retry(self, batch_id: UUID, *, permanent: bool = False) -> Report:
        """Run a batch's failed items again, those of a permanent category only when asked for."""
        await batches.retry_failed(self._core, batch_id, permanent=permanent)
        await ingesting.work_on(self._core, batch_id)
        return await self.report(batch_id)

    async def report(self, batch_id: UUID) -> Report:
        """How a batch stands. Raises BatchNotFoundError."""
        found = await batch_insights.report(self._core, batch_id)
        return Report(batch_id, found.view, ())

    async def _report(self, ingest: ingesting.Ingest) -> Report:
        found = await batch_insights.report(self._core, ingest.batch_id)
        return Report(ingest.batch_id, found.view, tuple(ingest.skipped))


class SemanticCore:
    """The same for code without asyncio: every method of ``Gristmill``, run on a thread of its own.

    Use it as a context manager, or call ``close``.
    """

    def __init__(self, **settings: Any) -> None:
        self._gristmill = Gristmill(**settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gristmill", daemon=True)
        self._thread.start()
        try:
            self._run(self._gristmill.__aenter__())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        if not self._loop.is_closed():
            self._run(self._gristmill.close())
            self._stop()

    def on_batch_end(self, listener: Listener) -> None:
        self._gristmill.on_batch_end(listener)

    def ingest(self, *given: Document, **options: Any) -> Report:
        return self._run(self._gristmill.ingest(*given, **options))

    def ingest_path(self, *paths: str | Path, **options: Any) -> Report:
        return self._run(self._gristmill.ingest_path(*paths, **options))

    def submit(self, items: Sequence[Item], **options: Any) -> Report:
        return self._run(self._gristmill.submit(items, **options))

    def search(self, query: str, **options: Any) -> Answer:
        return self._run(self._gristmill.search(query, **options))

    def delete(self, *document_ids: UUID) -> int:
        return self._run(self._gristmill.delete(*document_ids))

    def retry(self, batch_id: UUID, **options: Any) -> Report:
        return self._run(self._gristmill.retry(batch_id, **options))

    def report(self, batch_id: UUID) -> Report:
        return self._run(self._gristmill.report(batch_id))

    def _run(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
