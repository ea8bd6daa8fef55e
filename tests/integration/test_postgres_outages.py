"""PostgreSQL is killed, frozen, full or read-only: said as an outage, soon, and nothing acknowledged is lost."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.ports.clock import SystemClock
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.replication import Identity
from gristmill.stores.sql.postgres import INTERRUPT_SECONDS
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.postgres_databases import PostgresHost
from tests.support.postgres_server import PostgresServer

TIMEOUT_SECONDS = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """With fsync: it is killed."""
    server = PostgresServer(durable=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def name(server: PostgresServer) -> str:
    return PostgresHost(server.url()).create()


@pytest.fixture
async def database(server: PostgresServer, name: str) -> AsyncIterator[PostgresDatabase]:
    host = PostgresHost(server.url())
    async with host.attached(
        name, SystemClock(), timeout_seconds=TIMEOUT_SECONDS, connect_seconds=TIMEOUT_SECONDS
    ) as database:
        yield database


async def test_what_was_acknowledged_survives_kill_nine(server: PostgresServer, database: PostgresDatabase):
    batch_id = await steps.submit(database)
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        while True:
            new = builders.numbered(5, start=acknowledged)
            await database.batches.create_processing_records(batch_id, new)
            acknowledged += 5

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.5)
    server.kill()
    with pytest.raises(StoreUnavailableError, match="nothing that was acknowledged is lost"):
        await writing
    with pytest.raises(StoreUnavailableError):
        await database.batches.list_batches(limit=1)
    assert not (await database.check()).ok
    server.start()
    there = {record.item_id for record in await steps.records_of(database, batch_id)}
    assert {item.item_id for item in builders.numbered(acknowledged)} <= there
    assert acknowledged > 0
    assert len(await steps.claim(database)) > 0
    await steps.counters(database, batch_id)


async def test_number_and_marks_survive_kill_nine(server: PostgresServer):
    """A5: a database that was killed is not taken for one that was restored, and owes all that it holds."""
    host = PostgresHost(server.url())
    async with host.attached(host.create(), SystemClock()) as database:
        await database.replication.distrust(Identity(uuid4(), 1))
        batch_id = await steps.submit(database)
        seen = (await database.replication.standing()).identity

        async def write(number: int) -> None:
            for start in range(0, 100_000, 5):
                await database.batches.create_processing_records(
                    batch_id, builders.items(*(f"{number}-{start + each}" for each in range(5)))
                )

        writing = [asyncio.create_task(write(number)) for number in range(3)]
        asyncio.get_running_loop().call_later(0.5, server.kill)
        with suppress(StoreUnavailableError):
            while True:
                seen = (await database.replication.standing()).identity
        await asyncio.gather(*writing, return_exceptions=True)
        server.start()
        assert (await database.replication.standing()).identity.continues(seen)
        there = await steps.records_of(database, batch_id)
        # The batch is owed too.
        assert (await database.replication.count_owed()).rows == len(there) + 1 > 1


async def test_a_server_that_was_restarted_while_idle_is_not_noticed(
    server: PostgresServer, database: PostgresDatabase
):
    batch_id = await steps.submit(database, "a")
    server.stop()
    server.start()
    assert (await steps.counters(database, batch_id)).pending == 1
    await database.batches.seal_batch(batch_id)


async def test_a_connection_that_the_server_ends_is_an_outage(
    server: PostgresServer, name: str, database: PostgresDatabase
):
    def end(connection: Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with psycopg.connect(server.url(name)) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreUnavailableError, match="terminating connection"):
        await database._connections.run_write(end)


async def test_a_frozen_server_is_given_up_in_time(server: PostgresServer, database: PostgresDatabase):
    batch_id = await steps.submit(database, "a")
    server.freeze()
    try:
        for call in (database.batches.list_batches(limit=1), database.batches.seal_batch(batch_id)):
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await call
            assert time.monotonic() - started < 3 * TIMEOUT_SECONDS
    finally:
        server.thaw()
    assert (await database.batches.seal_batch(batch_id)).total_files == 1


async def test_a_server_that_freezes_within_a_transaction_is_given_up_in_time(
    server: PostgresServer, database: PostgresDatabase
):
    def freeze(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT 1")
        server.freeze()
        connection.exec_driver_sql("SELECT 2")

    started = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError, match="no answer for 2 s"):
            await database._connections.run_write(freeze)
        assert time.monotonic() - started < 2 * TIMEOUT_SECONDS
    finally:
        server.thaw()
    await steps.submit(database, "a")


async def test_locks_held_too_long_are_an_outage_and_the_work_can_be_repeated(
    server: PostgresServer, name: str, database: PostgresDatabase
):
    batch_id = await steps.submit(database, "a")
    with psycopg.connect(server.url(name)) as holder:
        holder.execute("SELECT 1 FROM batches WHERE batch_id = %s FOR UPDATE", [batch_id.bytes])
        with pytest.raises(StoreUnavailableError, match="locks were held for too long"):
            await database.batches.seal_batch(batch_id)
    assert (await database.batches.seal_batch(batch_id)).total_files == 1


async def test_a_cancelled_call_stops_its_statement(database: PostgresDatabase):
    call = asyncio.create_task(
        database._connections.run_write(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)"))
    )
    await asyncio.sleep(0.3)
    started = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - started < 10
    await steps.submit(database, "a")


@pytest.mark.parametrize("frozen", ["before a transaction", "within one"])
async def test_a_cancelled_call_does_not_wait_for_a_frozen_server(
    server: PostgresServer, name: str, frozen: str
):
    """Failover gives up a call long before this database would."""
    began = threading.Event()

    def work(connection: Connection) -> None:
        began.set()
        connection.exec_driver_sql("SELECT pg_sleep(60)")

    host = PostgresHost(server.url())
    async with host.attached(name, SystemClock(), timeout_seconds=30) as database:
        await steps.submit(database, "a")
        if frozen == "before a transaction":
            server.freeze()
        call = asyncio.create_task(database._connections.run_write(work))
        await asyncio.sleep(0.5)
        server.freeze()
        try:
            started = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - started < 2 * INTERRUPT_SECONDS
        finally:
            server.thaw()
        assert began.is_set() is (frozen == "within one")
        await steps.submit(database, "b")
    assert began.is_set() is (frozen == "within one")


async def test_a_standby_takes_no_writes(server: PostgresServer, name: str, database: PostgresDatabase):
    batch_id = await steps.submit(database, "a")

    def write(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("DELETE FROM batches")

    with pytest.raises(StoreUnavailableError, match="Point POSTGRESQL_URL at the primary"):
        await database._connections.run_write(write)
    assert (await steps.counters(database, batch_id)).pending == 1


async def test_too_many_connections_are_an_outage(
    server: PostgresServer, name: str, database: PostgresDatabase
):
    connections = []
    try:
        with suppress(psycopg.OperationalError):
            while True:
                connections.append(psycopg.connect(server.url(name)))
        with pytest.raises(StoreUnavailableError, match="Raise max_connections"):
            await database.batches.list_batches(limit=1)
    finally:
        for each in connections:
            each.close()
    await steps.submit(database, "a")


async def test_a_mistake_of_ours_is_no_outage(database: PostgresDatabase):
    with pytest.raises(DBAPIError, match="does not exist"):
        await database._connections.run_write(lambda c: c.exec_driver_sql("SELECT * FROM no_such_table"))
    with pytest.raises(DBAPIError, match="violates not-null"):
        await database._connections.run_write(
            lambda c: c.exec_driver_sql("INSERT INTO sequences (name) VALUES ('x')")
        )
    await steps.submit(database, "a")
