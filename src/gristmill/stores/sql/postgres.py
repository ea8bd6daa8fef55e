"""What is special about PostgreSQL: its connections and their transactions."""

import os
import socket
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import IsolationLevel
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from gristmill.stores.sql import postgres_errors
from gristmill.stores.sql.compiled import COMPILED

if TYPE_CHECKING:
    from gristmill.stores.sql.ssh import SshOptions
    from gristmill.stores.sql.tunnel import Tunnel

CONNECT_SECONDS = 10.0
INTERRUPT_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
# Of one kind, readers or writers, in one process.
CONNECTIONS = 4

_PORT = 5432

# A deadlock, or a transaction that must be run again (protocol C5).
_RUN_AGAIN = {"40001", "40P01"}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is, and how long to wait for it.

    ``timeout_seconds``: a statement that takes longer, be the server busy or frozen, is an outage. With a tunnel,
    host and port of the URL are as the SSH server sees them.
    """

    url: URL
    timeout_seconds: float = TIMEOUT_SECONDS
    connect_seconds: float = CONNECT_SECONDS
    patience_seconds: float = 60.0
    tunnel: "Tunnel | None" = None

    writers = CONNECTIONS
    readers = CONNECTIONS

    def __str__(self) -> str:
        """The address without its password."""
        address = self.url.render_as_string(hide_password=True)
        return address if self.tunnel is None else f"{address} through {self.tunnel}"

    def writer_engine(self) -> Engine:
        """Connections whose statements each see what was committed before; rows are locked where that matters."""
        return self.engine(connections=self.writers, isolation=IsolationLevel.READ_COMMITTED)

    def reader_engine(self) -> Engine:
        """Connections whose transactions see one snapshot and cannot write."""
        return self.engine(connections=self.readers, isolation=IsolationLevel.REPEATABLE_READ, read_only=True)

    def engine(
        self,
        *,
        connections: int,
        isolation: IsolationLevel,
        read_only: bool = False,
        limit: float | None = None,
    ) -> Engine:
        def connect() -> psycopg.Connection[Any]:
            connection = self._connect(self.timeout_seconds if limit is None else limit)
            connection.isolation_level = isolation
            connection.read_only = read_only
            return connection

        return create_engine(
            "postgresql+psycopg://",
            creator=connect,
            paramstyle="format",
            use_native_hstore=False,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            pool_use_lifo=True,
            execution_options={"compiled_cache": COMPILED},
            hide_parameters=True,  # What users store does not belong in error texts.
        )

    def alone(self, limit: float) -> psycopg.Connection[Any]:
        """A connection outside the pools, without transactions, for statements that take up to so many seconds."""
        connection = self._connect(limit)
        connection.autocommit = True
        return connection

    def _connect(self, limit: float) -> "_Connection":
        connection = self._connect_through(self.tunnel, limit) if self.tunnel else self._dial(limit)
        connection.answer_seconds = limit
        milliseconds = round(900 * limit)
        # The server ends what we give up, and what a frozen process of ours would keep locked.
        connection.execute(
            "SET synchronous_commit = on; SET TimeZone = 'UTC'; "
            f"SET statement_timeout = {milliseconds:d}; SET idle_in_transaction_session_timeout = {milliseconds:d}"
        )
        connection.autocommit = False
        return connection

    def _connect_through(self, tunnel: "Tunnel", limit: float) -> "_Connection":
        # The host stays the one of the URL: a certificate is checked against that name.
        local = {"hostaddr": "127.0.0.1", "port": tunnel.port()}
        try:
            return self._dial(limit, **local)
        except psycopg.OperationalError:
            tunnel.check_target()
            raise

    def _dial(self, limit: float, **where: Any) -> "_Connection":
        return _Connection.connect(
            self.url.set(drivername="postgresql").render_as_string(hide_password=False),
            connect_timeout=max(2, round(self.connect_seconds)),
            application_name="gristmill",
            client_encoding="UTF8",
            tcp_user_timeout=round(1000 * limit),
            autocommit=True,
            **where,
        )

    def is_busy(self, error: DBAPIError) -> bool:
        """Whether another transaction was in the way, so that running this one again can help."""
        return getattr(error.orig, "sqlstate", None) in _RUN_AGAIN

    def interrupt(self, driver: psycopg.Connection[Any]) -> None:
        """Stop the statement that runs on a connection, from another thread; hang up on a server that does not."""
        try:
            driver.cancel_safe(timeout=min(INTERRUPT_SECONDS, self.connect_seconds))
        except psycopg.Error:
            _hang_up(driver)

    def translated_errors(self) -> AbstractContextManager[None]:
        return postgres_errors.translated(str(self))


def server_of(
    url: str, *, timeout_seconds: float = TIMEOUT_SECONDS, ssh: "SshOptions | None" = None
) -> Server:
    """The server of a URL as users write it; through a tunnel with ``ssh``."""
    given = make_url(url).set(drivername="postgresql")
    return Server(
        given,
        timeout_seconds=timeout_seconds,
        connect_seconds=min(CONNECT_SECONDS, timeout_seconds),
        tunnel=None if ssh is None else _tunnel(ssh, given),
    )


def _tunnel(ssh: "SshOptions", url: URL) -> "Tunnel":
    # Only here: asyncssh takes longer to load than everything else.
    from gristmill.stores.sql.ssh import Target  # noqa: PLC0415
    from gristmill.stores.sql.tunnel import Tunnel  # noqa: PLC0415

    assert url.host is not None
    return Tunnel(ssh, Target(url.host, url.port or _PORT))


def _hang_up(driver: psycopg.Connection[Any]) -> None:
    """Whoever waits for an answer on this connection learns that there will be none."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


class _Connection(psycopg.Connection[Any]):
    """Gives up a server that does not answer: libpq would wait for as long as its machine is there."""

    answer_seconds = CONNECT_SECONDS

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 (meant for callers of ``wait``)
            # Nothing can be said on it any more: an answer that comes late would be taken for another's.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {self.answer_seconds:g} s") from None
