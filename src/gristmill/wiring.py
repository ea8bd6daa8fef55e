"""The one place that picks adapters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import structlog

from gristmill import embedders
from gristmill.domain.retry import RetryPolicy
from gristmill.engine.announce import Listener
from gristmill.engine.core import Core, SearchOptions
from gristmill.engine.worker import WorkerOptions
from gristmill.executors.local import LocalExecutor
from gristmill.extractors import FileExtractor
from gristmill.pipeline.chunk import SemanticChunker
from gristmill.pipeline.documents import DocumentsProcessor, ItemLimits
from gristmill.pipeline.embed import Embedding
from gristmill.pipeline.prepare import Recipe
from gristmill.ports.clock import Clock, SystemClock
from gristmill.ports.database import Database
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.executor import Executor
from gristmill.ports.processor import Processor
from gristmill.ports.schema import Schema
from gristmill.settings import Settings
from gristmill.stores.sql.database import SqlDatabase
from gristmill.stores.sql.schemas import SqliteSchema

if TYPE_CHECKING:
    from gristmill.stores.sql.postgres import Server
    from gristmill.stores.sql.ssh import SshOptions

_log = structlog.get_logger(__name__)

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
    policy = RetryPolicy(
        max_retries=settings.max_retries,
        first_delay_seconds=settings.retry_delay_seconds,
        snooze_seconds=settings.snooze_seconds,
    )
    database = database or _database(settings, clock=clock, policy=policy)
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
        retry_policy=policy,
        search=SearchOptions(
            fusion=settings.search_fusion,
            text_weight=settings.search_text_weight,
            vector_weight=settings.search_vector_weight,
        ),
        worker=WorkerOptions(lease_seconds=settings.lease_seconds),
        listeners=_registered_listeners(),
    )


def _database(settings: Settings, *, clock: Clock, policy: RetryPolicy) -> Database:
    """Where everything is kept. Drivers are loaded here: who uses no server need not wait for them."""
    if settings.uses_qdrant:
        return _qdrant(settings, clock=clock, policy=policy)
    if settings.postgresql_url is None:
        return SqlDatabase(
            settings.database_path, clock=clock, retry_policy=policy, auto_migrate=settings.auto_migrate
        )
    if settings.qdrant_url is not None:
        _log.warning(
            "qdrant_url_not_used", reason="POSTGRESQL_URL is set; QDRANT_ONLY_MODE=true turns to Qdrant"
        )
    from gristmill.stores.sql.postgres_database import PostgresDatabase  # noqa: PLC0415

    return PostgresDatabase(
        _server(settings),
        clock=clock,
        retry_policy=policy,
        folder=settings.home / "postgresql.vectors",
        auto_migrate=settings.auto_migrate,
    )


def _server(settings: Settings) -> "Server":
    from gristmill.stores.sql.postgres import server_of  # noqa: PLC0415

    assert settings.postgresql_url is not None
    return server_of(
        settings.postgresql_url.get_secret_value(),
        timeout_seconds=settings.postgresql_timeout_seconds,
        ssh=_ssh(settings) if settings.enable_ssh_tunnel else None,
    )


def _ssh(settings: Settings) -> "SshOptions":
    from gristmill.stores.sql.ssh import CONNECT_SECONDS, SshOptions  # noqa: PLC0415

    assert settings.ssh_tunnel_host is not None
    assert settings.ssh_tunnel_user is not None
    assert settings.ssh_tunnel_key is not None
    return SshOptions(
        settings.ssh_tunnel_host,
        port=settings.ssh_tunnel_port,
        user=settings.ssh_tunnel_user,
        key=settings.ssh_tunnel_key.expanduser(),
        known_hosts=settings.ssh_tunnel_known_hosts.expanduser(),
        connect_seconds=min(CONNECT_SECONDS, settings.postgresql_timeout_seconds),
        silent_seconds=settings.postgresql_timeout_seconds,
    )


def schema(settings: Settings) -> Schema:
    """Of the SQL database, which is not opened. Raises ConfigurationError if everything is kept in Qdrant."""
    if settings.uses_qdrant:
        raise ConfigurationError(
            "Everything is kept in Qdrant, which has no schema revisions. `gristmill db` is for SQLite and PostgreSQL."
        )
    if settings.postgresql_url is None:
        return SqliteSchema(settings.database_path)
    from gristmill.stores.sql.postgres_schema import PostgresSchema  # noqa: PLC0415

    return PostgresSchema(_server(settings))


def _qdrant(settings: Settings, *, clock: Clock, policy: RetryPolicy) -> Database:
    from gristmill.stores.qdrant.connection import QdrantOptions  # noqa: PLC0415
    from gristmill.stores.qdrant.database import QdrantDatabase  # noqa: PLC0415

    assert settings.qdrant_url is not None
    if settings.postgresql_url is not None:
        _log.warning("postgresql_url_not_used", reason="QDRANT_ONLY_MODE is on")
    options = QdrantOptions(
        settings.qdrant_url,
        api_key=settings.qdrant_api_key,
        timeout_seconds=settings.qdrant_timeout_seconds,
        prefix=settings.qdrant_prefix,
        ca_file=settings.qdrant_ca_file,
    )
    return QdrantDatabase(options, clock=clock, retry_policy=policy)


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
