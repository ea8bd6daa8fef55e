"""Opening a PostgreSQL database: once migrated, by whoever comes first, and refused with advice when it cannot work."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import IsolationLevel

from gristmill.ports.clock import SystemClock
from gristmill.ports.errors import AccessDeniedError, ConfigurationError, StoreUnavailableError
from gristmill.stores.sql.postgres import Server
from gristmill.stores.sql.postgres_database import PostgresDatabase
from gristmill.stores.sql.postgres_opening import VERSION_TABLE, bring_up_to_date
from gristmill.stores.sql.tables import metadata
from tests.contract import batches_contract_steps as steps
from tests.support.postgres_databases import PostgresHost
from tests.support.postgres_server import PASSWORD


@pytest.fixture
def empty(postgres: PostgresHost) -> str:
    return postgres.create()


@pytest.fixture
def weak_user(postgres: PostgresHost, empty: str) -> Iterator[str]:
    name = f"weak_{uuid4().hex}"
    postgres.execute(empty, f"CREATE USER {name} PASSWORD 'weak'")
    yield name
    postgres.execute(empty, f"DROP OWNED BY {name}; DROP USER {name}")


async def test_everything_works_after_the_first_opening(postgres: PostgresHost, empty: str):
    async with postgres.attached(empty, SystemClock()) as database:
        batch_id = await steps.submit(database, "a", "b")
        health = await database.check()
        assert health.ok
        assert health.details["postgresql"].split(".")[0].isdecimal()
        assert int(health.details["bytes"]) > 0
        assert PASSWORD not in str(health.details)
    async with postgres.attached(empty, SystemClock()) as again:
        assert (await steps.counters(again, batch_id)).pending == 2


async def test_migrated_schema_is_that_of_the_tables(postgres: PostgresHost, empty: str):
    server = postgres.server(empty)
    bring_up_to_date(server)
    engine = server.engine(connections=1, isolation=IsolationLevel.READ_COMMITTED)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_text_is_compared_by_code_point(postgres: PostgresHost, empty: str):
    bring_up_to_date(postgres.server(empty))
    other = postgres.execute(
        empty,
        """SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname != %s
        AND atttypid = 'text'::regtype AND attcollation != 'pg_catalog."C"'::regcollation""",
        VERSION_TABLE,
    )
    assert other == []


async def test_processes_that_open_at_once_migrate_once(postgres: PostgresHost, empty: str):
    await asyncio.gather(*(asyncio.to_thread(bring_up_to_date, postgres.server(empty)) for _ in range(6)))
    assert len(postgres.execute(empty, f"SELECT * FROM {VERSION_TABLE}")) == 1


async def test_a_newer_schema_is_refused(postgres: PostgresHost, empty: str):
    bring_up_to_date(postgres.server(empty))
    postgres.execute(empty, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match=r"newer Gristmill \(schema 9999"):
        bring_up_to_date(postgres.server(empty))


async def test_a_database_of_another_program_is_refused_and_left_alone(postgres: PostgresHost, empty: str):
    postgres.execute(empty, "CREATE TABLE invoices (n int)")
    with pytest.raises(ConfigurationError, match=r"another program, such as 'invoices'.*search_path"):
        bring_up_to_date(postgres.server(empty))
    assert postgres.execute(empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]


async def test_a_schema_of_its_own_is_enough(postgres: PostgresHost, empty: str):
    postgres.execute(empty, "CREATE TABLE invoices (n int); CREATE SCHEMA mill")
    server = postgres.server(empty)
    in_schema = Server(server.url.update_query_dict({"options": "-csearch_path=mill"}))
    bring_up_to_date(in_schema)
    assert postgres.execute(empty, "SELECT count(*) FROM mill.batches") == [(0,)]


async def test_extensions_are_no_other_program(postgres: PostgresHost, empty: str):
    postgres.execute(empty, "CREATE EXTENSION pg_trgm")
    bring_up_to_date(postgres.server(empty))


async def test_another_encoding_is_refused(postgres: PostgresHost):
    name = postgres.create("ENCODING 'SQL_ASCII' LOCALE 'C'")
    with pytest.raises(ConfigurationError, match=r"stores text as SQL_ASCII.*ENCODING 'UTF8'"):
        bring_up_to_date(postgres.server(name))


async def test_wrong_password_is_a_wrong_setting_and_is_not_shown(postgres: PostgresHost, empty: str):
    wrong = Server(postgres.server(empty).url.set(password="not-it-at-all"))
    with pytest.raises(AccessDeniedError, match=r"password authentication failed.*POSTGRESQL_URL") as refused:
        bring_up_to_date(wrong)
    assert "not-it-at-all" not in str(refused.value)
    assert ":***@" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"database": "absent"}, 'database "absent" does not exist'), ({"username": "nobody"}, "nobody")],
)
async def test_what_the_server_does_not_know_is_a_wrong_setting(
    postgres: PostgresHost, empty: str, changes: dict[str, str], said: str
):
    with pytest.raises(ConfigurationError, match=said):
        bring_up_to_date(Server(postgres.server(empty).url.set(**changes)))


async def test_a_user_without_rights_is_told_which(postgres: PostgresHost, empty: str, weak_user: str):
    weak = Server(postgres.server(empty).url.set(username=weak_user, password="weak"))
    with pytest.raises(ConfigurationError, match=r"permission denied for schema public.*grant it CREATE"):
        bring_up_to_date(weak)


async def test_tables_that_may_not_be_read_are_a_wrong_setting(
    postgres: PostgresHost, empty: str, weak_user: str, tmp_path: Path
):
    bring_up_to_date(postgres.server(empty))
    postgres.execute(empty, f"GRANT SELECT ON {VERSION_TABLE} TO {weak_user}")
    weak = Server(postgres.server(empty).url.set(username=weak_user, password="weak"))
    database = PostgresDatabase(weak, clock=SystemClock(), folder=tmp_path)
    await database.open()
    with pytest.raises(ConfigurationError, match="permission denied for table batches"):
        await database.batches.list_batches(limit=1)
    await database.close()


async def test_a_closed_port_is_an_outage(postgres: PostgresHost, empty: str):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(StoreUnavailableError, match="Check that the server runs") as away:
        bring_up_to_date(Server(postgres.server(empty).url.set(host="127.0.0.1", port=port)))
    assert f"127.0.0.1:{port}" in str(away.value)
    assert away.value.database == "postgresql"


async def test_an_unknown_host_is_named(postgres: PostgresHost, empty: str):
    with pytest.raises(StoreUnavailableError, match=r"no-such-host\.invalid.*Correct the host"):
        bring_up_to_date(Server(postgres.server(empty).url.set(host="no-such-host.invalid")))


async def test_tls_that_the_server_does_not_speak_is_a_wrong_setting(postgres: PostgresHost, empty: str):
    url = postgres.server(empty).url.update_query_dict({"sslmode": "require"})
    with pytest.raises(ConfigurationError, match=r"SSL.*sslmode"):
        bring_up_to_date(Server(url))
