"""The one place that picks adapters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points

from gristmill import databases, embedders
from gristmill.engine.announce import Listener
from gristmill.engine.core import Core, SearchOptions
from gristmill.engine.worker import WorkerOptions
from gristmill.executors.local import LocalExecutor
from gristmill.extractors import FileExtractor
from gristmill.pipeline.chunk import SemanticChunker
from gristmill.pipeline.documents import DocumentsProcessor
from gristmill.pipeline.embed import Embedding
from gristmill.pipeline.prepare import Recipe
from gristmill.pipeline.preparing import ItemLimits
from gristmill.ports.clock import Clock, SystemClock
from gristmill.ports.database import Database
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.executor import Executor
from gristmill.ports.processor import Processor
from gristmill.settings import Settings

PROCESSORS = "gristmill.processors"
LISTENERS = "gristmill.listeners"


def build(
    settings: Settings,
    *,
    database: Database | None = None,
    executor: Executor | None = None,
    clock: Clock | None = None,
) -> Core:
    """Put a core together from settings; what is given replaces what would be picked.

    Nothing is opened or started yet. Raises ConfigurationError for a processor that cannot be loaded and for
    settings of a database that cannot work.
    """
    clock = clock or SystemClock()
    needs = databases.Needs(settings, clock)
    database = database or databases.database(needs)
    executor = executor or LocalExecutor(settings.workers)
    recipe = _recipe(settings)
    documents = _documents_processor(settings, database, executor, recipe)
    return Core(
        database=database,
        processors={documents.kind: documents, **_registered_processors()},
        executor=executor,
        clock=clock,
        embedding=embedders.identity_of(settings.embedder),
        load_embedder=partial(embedders.load, settings.embedder),
        pipeline=recipe.pipeline,
        retry_policy=needs.policy,
        search=SearchOptions(
            fusion=settings.search_fusion,
            text_weight=settings.search_text_weight,
            vector_weight=settings.search_vector_weight,
        ),
        worker=WorkerOptions(lease_seconds=settings.lease_seconds),
        listeners=_registered_listeners(),
    )


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        extractor=FileExtractor(
            max_text_characters=settings.max_text_characters,
            max_expanded_bytes=settings.max_expanded_bytes,
        ),
        chunker=SemanticChunker(size=settings.chunk_size, overlap=settings.chunk_overlap),
        embedding_key=embedders.identity_of(settings.embedder).key,
        max_file_bytes=settings.max_file_bytes,
    )


def _documents_processor(
    settings: Settings, database: Database, executor: Executor, recipe: Recipe
) -> DocumentsProcessor:
    return DocumentsProcessor(
        database.documents,
        executor,
        recipe=recipe,
        embedding=Embedding(
            identity=embedders.identity_of(settings.embedder),
            embed_texts=partial(embedders.embed_texts, settings.embedder),
            where_prepared=embedders.is_static(settings.embedder),
            memory_limit_bytes=settings.item_memory_bytes,
        ),
        limits=ItemLimits(settings.item_timeout_seconds, settings.item_memory_bytes),
        snooze_seconds=settings.snooze_seconds,
    )


def _registered_processors() -> Mapping[str, Processor]:
    """Processors of other packages: each entry point names a callable that returns one."""
    found: dict[str, Processor] = {}
    for point in entry_points(group=PROCESSORS):
        with _loading("Processor", point):
            processor = point.load()()
            found[processor.kind] = processor
    return found


def _registered_listeners() -> list[Listener]:
    """Listeners of other packages: each entry point names a function that takes a BatchEnded."""
    found: list[Listener] = []
    for point in entry_points(group=LISTENERS):
        with _loading("Listener", point):
            found.append(point.load())
    return found


@contextmanager
def _loading(what: str, point: EntryPoint) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ConfigurationError(
            f"{what} '{point.name}' of entry point {point.value} cannot be loaded: "
            f"{type(error).__name__}: {error}. Mend or uninstall its package."
        ) from error
