"""The one place that picks databases: of the settings, or of an address that somebody gives.

Drivers are loaded here, when they are needed: who uses one database need not wait for those of the others.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

import structlog
from pydantic import SecretStr

from gristmill.domain.retry import RetryPolicy
from gristmill.ports.clock import Clock, SystemClock
from gristmill.ports.database import Database, ReplicatedDatabase
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.schema import Schema
from gristmill.settings import Settings, check_postgresql_url, masked
from gristmill.stores.failover import FailoverDatabase, FailoverOptions

if TYPE_CHECKING:
    from gristmill.stores.sql.postgres import Server
    from gristmill.stores.sql.ssh import SshOptions

_log = structlog.get_logger(__name__)

_CLOSE_SECONDS = 5.0
_Database = TypeVar("_Database", bound=Database)

_ADDRESSES = (
    "Give sqlite, postgresql or qdrant for the one that is set, or an address: PATH/gristmill.db, "
    "postgresql://USER:PASSWORD@HOST:PORT/NAME, http://HOST:6333 or https://:APIKEY@HOST:6333."
)


@dataclass(frozen=True, slots=True)
class Apart(Generic[_Database]):
    """Databases that are opened one by one by those who look at them, and closed together."""

    databases: Sequence[_Database]

    async def open(self) -> None:
        """Left to each one's user: one that cannot be opened is something to be told of."""

    async def close(self) -> None:
        closed = asyncio.gather(*(each.close() for each in self.databases), return_exceptions=True)
        await asyncio.wait({closed}, timeout=_CLOSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Needs:
    """What every database is made with."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            max_retries=self.settings.max_retries,
            first_delay_seconds=self.settings.retry_delay_seconds,
            snooze_seconds=self.settings.snooze_seconds,
        )


def database(needs: Needs) -> Database:
    """Where everything is kept: one database, or two that fail over to each other.

    Nothing is opened. Raises ConfigurationError for settings that cannot work.
    """
    settings = needs.settings
    if settings.qdrant_only_mode and settings.postgresql_url is not None:
        _log.warning("postgresql_url_not_used", reason="QDRANT_ONLY_MODE is on")
    names = settings.databases
    return pair(needs) if len(names) > 1 else _named(names[0], needs)


def each(needs: Needs) -> "Apart[Database]":
    """The same databases, each for itself, the preferred one first."""
    return Apart([_named(name, needs) for name in needs.settings.databases])


def pair(needs: Needs) -> FailoverDatabase:
    """Raises ConfigurationError if only one database is set."""
    settings = needs.settings
    if len(settings.databases) == 1:
        raise ConfigurationError(
            f"Everything is kept in one database ({settings.databases[0]}); this is for two. "
            "Set both POSTGRESQL_URL and QDRANT_URL, and leave ENABLE_FALLBACK_DATABASES on."
        )
    preferred, standby = (_named(name, needs) for name in settings.databases)
    options = FailoverOptions(
        call_timeout=settings.failover_timeout_seconds,
        probe_timeout=settings.failover_probe_seconds,
        hand_over_after=settings.failover_hand_over_seconds,
    )
    by = f"{socket.gethostname()}:{os.getpid()}"
    return FailoverDatabase(preferred, standby, clock=needs.clock, options=options, by=by)


def at(address: str, needs: Needs, *, create: bool) -> ReplicatedDatabase:
    """The database of an address, or of the settings if it is only a kind.

    Raises ConfigurationError for what is no address, and unless ``create`` for a file that is not there.
    """
    settings = needs.settings
    match urlsplit(address).scheme:
        case "" if address in {"postgresql", "qdrant"}:
            if getattr(settings, f"{address}_url") is None:
                raise ConfigurationError(f"There is no {address.upper()}_URL. Set it, or give an address.")
            return _named(address, needs)
        case "sqlite" | "":
            path = settings.database_path if address == "sqlite" else _path(address)
            if not create and not path.is_file():
                raise ConfigurationError(f"There is no database {path}. {_ADDRESSES}")
            return _sqlite(needs, path)
        case "postgresql" | "postgres":
            return _postgresql(replace(needs, settings=_with_postgresql(settings, address)))
        case "http" | "https":
            return _qdrant(replace(needs, settings=_with_qdrant(settings, address)))
    raise ConfigurationError(f"{masked(address)} is no address of a database. {_ADDRESSES}")


def schema(settings: Settings) -> Schema:
    """Of the SQL database, which is not opened. Raises ConfigurationError if everything is kept in Qdrant."""
    if settings.databases == ("qdrant",):
        raise ConfigurationError(
            "Everything is kept in Qdrant, which has no schema revisions. `gristmill db` is for SQLite and PostgreSQL."
        )
    if settings.postgresql_url is None:
        from gristmill.stores.sql.schemas import SqliteSchema  # noqa: PLC0415

        return SqliteSchema(settings.database_path)
    from gristmill.stores.sql.postgres_schema import PostgresSchema  # noqa: PLC0415

    return PostgresSchema(_server(settings))


def _named(name: str, needs: Needs) -> ReplicatedDatabase:
    return _NAMED[name](needs)


def _sqlite(needs: Needs, path: Path | None = None) -> ReplicatedDatabase:
    from gristmill.stores.sql.database import SqlDatabase  # noqa: PLC0415

    settings = needs.settings
    return SqlDatabase(
        path or settings.database_path,
        clock=needs.clock,
        retry_policy=needs.policy,
        auto_migrate=settings.auto_migrate,
    )


def _postgresql(needs: Needs) -> ReplicatedDatabase:
    from gristmill.stores.sql.postgres_database import PostgresDatabase  # noqa: PLC0415

    settings = needs.settings
    return PostgresDatabase(
        _server(settings),
        clock=needs.clock,
        retry_policy=needs.policy,
        folder=settings.home / "postgresql.vectors",
        auto_migrate=settings.auto_migrate,
        hnsw_from=settings.postgresql_hnsw_from,
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


def _qdrant(needs: Needs) -> ReplicatedDatabase:
    from gristmill.stores.qdrant.connection import QdrantOptions  # noqa: PLC0415
    from gristmill.stores.qdrant.database import QdrantDatabase  # noqa: PLC0415

    settings = needs.settings
    assert settings.qdrant_url is not None
    options = QdrantOptions(
        settings.qdrant_url,
        api_key=settings.qdrant_api_key,
        timeout_seconds=settings.qdrant_timeout_seconds,
        prefix=settings.qdrant_prefix,
        ca_file=settings.qdrant_ca_file,
    )
    return QdrantDatabase(options, clock=needs.clock, retry_policy=needs.policy)


_NAMED: Mapping[str, Callable[[Needs], ReplicatedDatabase]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "qdrant": _qdrant,
}


def _path(address: str) -> Path:
    path = urlsplit(address).path if "://" in address else address
    if not path.strip("/") or ("://" in address and urlsplit(address).netloc):
        raise ConfigurationError(f"{address!r} names no file. {_ADDRESSES}")
    return Path(os.path.abspath(path))


def _with_postgresql(settings: Settings, address: str) -> Settings:
    """Reached as it is written: the tunnel in the settings leads to another server."""
    try:
        check_postgresql_url(address)
    except ValueError as error:
        raise ConfigurationError(
            f"{masked(address)} is no address of a PostgreSQL database: {error}. {_ADDRESSES}"
        ) from None
    return settings.model_copy(update={"postgresql_url": SecretStr(address), "enable_ssh_tunnel": False})


def _with_qdrant(settings: Settings, address: str) -> Settings:
    """The key is that of the address: the one in the settings is for another server."""
    parts = urlsplit(address)
    key = None if parts.username or not parts.password else SecretStr(parts.password)
    if key is not None:
        address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return settings.model_copy(update={"qdrant_url": address, "qdrant_api_key": key})
