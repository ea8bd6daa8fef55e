"""Opening: once migrated, by whoever comes first; cheap afterwards; and refused with advice when it cannot work."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from gristmill.domain.identity import record_id
from gristmill.domain.record import Done, Report
from gristmill.ports.errors import ConfigurationError
from gristmill.stores.sql import opening, tables_documents
from gristmill.stores.sql.database import SqlDatabase
from gristmill.stores.sql.migrations import upgrade
from gristmill.stores.sql.tables import metadata
from tests.contract import batches_contract_steps as steps
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite


async def opened(path: Path) -> SqlDatabase:
    database = SqlDatabase(path, clock=ManualClock())
    await database.open()
    return database


def schema(path: Path) -> dict[str, str]:
    """The words of every table's and index's SQL, in order: constraints are the same in any order."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        name: " ".join(sorted(sql.replace(",", " ").split()))
        for name, sql in rows
        if name != "alembic_version"
    }


async def test_migrated_schema_is_that_of_the_tables(tmp_path: Path):
    assert tables_documents.metadata is metadata
    await (await opened(tmp_path / "migrated.db")).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "created.db")


async def test_records_of_the_first_schema_are_kept(tmp_path: Path):
    path, batch = tmp_path / "old.db", UUID(int=5)
    upgrade(path, application_id=opening.APPLICATION_ID, revision="0001")
    with closing(sqlite3.connect(path)) as connection, connection:
        fill_first_schema(
            connection, "batches", batch_id=batch.bytes, kind="documents", status="queued", options="{}"
        )
        for item_id in "ab":
            key = record_id(batch, item_id).bytes
            fill_first_schema(
                connection,
                "records",
                record_id=key,
                batch_id=batch.bytes,
                item_id=item_id,
                kind="documents",
                payload='{"n": 1}',
                status="pending",
                stage="queued",
                step=2,
                due=1,
                write_id=item_id,
            )
        connection.execute("UPDATE batches SET pending = 2")
    database = await opened(path)
    claimed = await database.batches.claim_records("w1", limit=9)
    assert {record.item_id: record.payload for record in claimed} == {"a": {"n": 1}, "b": {"n": 1}}
    assert list(await database.batches.update_processing_status([Report(r, Done()) for r in claimed])) == []
    await steps.check_all(database)
    await database.close()


def fill_first_schema(connection: sqlite3.Connection, table: str, **given: object) -> None:
    """Insert a row, with 0 wherever something is required that is not given."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    required = {name: 0 for _, name, _, required, _, _ in columns if required}
    row = required | given
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))


def test_every_revision_is_known_without_alembic():
    scripts = ScriptDirectory(str(Path(opening.__file__).parent / "migrations"))
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert list(opening.REVISIONS) == revisions[::-1]


async def test_new_database_is_safe_against_power_loss(tmp_path: Path):
    database = await opened(tmp_path / "deep" / "er" / "gristmill.db")
    await database.close()
    with closing(sqlite3.connect(tmp_path / "deep" / "er" / "gristmill.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    synchronous = await database_setting(tmp_path / "deep" / "er" / "gristmill.db", "synchronous")
    assert synchronous == 2


async def database_setting(path: Path, name: str) -> int:
    database = await opened(path)
    value = await database._connections.run_write(lambda c: c.exec_driver_sql(f"PRAGMA {name}").scalar())
    await database.close()
    return value


async def test_opening_again_keeps_what_is_there(tmp_path: Path):
    database = await opened(tmp_path / "gristmill.db")
    batch_id = await steps.submit(database, "a")
    await database.close()
    database = await opened(tmp_path / "gristmill.db")
    assert (await steps.counters(database, batch_id)).pending == 1
    await database.close()
    await database.close()


async def test_migrating_prints_nothing_and_leaves_logging_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    before = (logging.root.level, list(logging.root.handlers), logging.getLogger("alembic").handlers)
    await (await opened(tmp_path / "gristmill.db")).close()
    assert (logging.root.level, list(logging.root.handlers), logging.getLogger("alembic").handlers) == before
    assert capfd.readouterr() == ("", "")


OPEN_QUICKLY = """
import sys, time
from pathlib import Path
from gristmill.stores.sql import opening
times = []
for _ in range(5):
    start = time.perf_counter()
    opening.bring_up_to_date(Path(sys.argv[1]))
    times.append(time.perf_counter() - start)
assert not [name for name in sys.modules if name.split(".")[0] in {"alembic", "mako"}]
assert min(times) < 0.03, times
"""


async def test_opening_an_up_to_date_database_is_quick_and_needs_no_alembic(tmp_path: Path):
    await (await new_sqlite(tmp_path, ManualClock())).close()
    command = [sys.executable, "-c", OPEN_QUICKLY, str(tmp_path / "gristmill.db")]
    await asyncio.to_thread(subprocess.run, command, check=True)


OPEN_TOGETHER = """
import sys
from pathlib import Path
from gristmill.stores.sql import migrations, opening
print("ready", flush=True)
sys.stdin.readline()
opening.bring_up_to_date(Path(sys.argv[1]))
print("open", flush=True)
"""


def test_processes_that_open_a_new_database_at_once_all_succeed(tmp_path: Path):
    command = [sys.executable, "-c", OPEN_TOGETHER, str(tmp_path / "gristmill.db")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate() == ("open\n", None)
        assert process.returncode == 0
    with closing(sqlite3.connect(tmp_path / "gristmill.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(opening.HEAD,)]


async def test_interrupted_migration_leaves_nothing_behind_and_is_made_up_for(tmp_path: Path):
    path = tmp_path / "gristmill.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as half_way:
        half_way.execute("PRAGMA journal_mode = WAL")
        half_way.execute("BEGIN IMMEDIATE")
        half_way.execute("CREATE TABLE batches (x)")
    assert path.stat().st_size > 0
    database = await opened(path)
    assert (await database.check()).ok
    await database.close()


async def test_newer_database_is_refused(tmp_path: Path):
    path = tmp_path / "gristmill.db"
    await (await new_sqlite(tmp_path, ManualClock())).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        ConfigurationError, match=r"gristmill\.db was written by a newer Gristmill \(schema 9999"
    ):
        await opened(path)


async def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"other\.db is an SQLite database of another program"):
        await opened(path)
    assert path.read_bytes() == before


async def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("Shopping list\n" * 100)
    with pytest.raises(ConfigurationError, match=r"notes\.txt is not an SQLite database"):
        await opened(path)
    assert path.read_text() == "Shopping list\n" * 100


@pytest.mark.parametrize("place", [".", "file/gristmill.db"])
async def test_place_that_cannot_hold_a_database_is_refused(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigurationError, match="cannot be opened for writing"):
        await opened(tmp_path / place)


async def test_empty_file_becomes_a_database(tmp_path: Path):
    (tmp_path / "gristmill.db").touch()
    database = await opened(tmp_path / "gristmill.db")
    assert (await database.check()).ok
    await database.close()


async def test_odd_path_is_taken_as_it_is(tmp_path: Path):
    path = tmp_path / "a b%20?mode=memory#ё.db"
    database = await opened(path)
    assert (await database.check()).ok
    await database.close()
    assert path.exists()


async def test_check_says_what_is_wrong_and_never_raises(tmp_path: Path):
    database = await new_sqlite(tmp_path, ManualClock())
    health = await database.check()
    assert (health.database, health.ok, health.problem) == ("sqlite", True, None)
    assert health.details["path"] == str(tmp_path / "gristmill.db")
    await database.close()
    (tmp_path / "gristmill.db").unlink()
    gone = SqlDatabase(tmp_path / "gristmill.db", clock=ManualClock())
    health = await gone.check()
    assert not health.ok
    assert "gristmill.db cannot be opened" in health.problem
    assert not (tmp_path / "gristmill.db").exists()
    await gone.close()
