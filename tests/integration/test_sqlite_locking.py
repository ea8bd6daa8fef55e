"""One file, several processes: who waits for whom, what a cancel leaves behind, and what errors mean."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gristmill.ports.errors import ConfigurationError, StoreUnavailableError
from gristmill.stores.sql import sqlite
from gristmill.stores.sql.database import SqlDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite

FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
async def database(tmp_path: Path):
    database = await new_sqlite(tmp_path, ManualClock())
    yield database
    await database.close()


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture
def holder(database: SqlDatabase, tmp_path: Path):
    """A process that holds the write lock until it is told to let go."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "gristmill.db")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    let_go(process)


def let_go(process: subprocess.Popen) -> None:
    """Again: nothing."""
    if process.poll() is None:
        process.communicate("go\n")


async def test_write_waits_for_another_process_and_then_succeeds(database: SqlDatabase, holder):
    write = asyncio.create_task(steps.submit(database, "a"))
    # Longer than SQLite itself is told to wait: a second try is needed.
    done, _ = await asyncio.wait([write], timeout=1.5)
    assert not done
    await asyncio.to_thread(let_go, holder)
    assert (await steps.counters(database, await write)).pending == 1


async def test_reading_waits_for_no_writer(database: SqlDatabase, holder):
    assert await database.batches.list_workers() == []
    assert (await database.check()).ok


async def test_lock_held_too_long_is_an_outage_with_advice(
    database: SqlDatabase, holder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite.SqliteFile, "patience_seconds", 0.0)
    with pytest.raises(StoreUnavailableError, match=r"gristmill\.db locked .* run the same command again"):
        await steps.submit(database)


async def test_cancelled_wait_for_the_lock_ends_soon_and_writes_nothing(database: SqlDatabase, holder):
    write = asyncio.create_task(steps.submit(database, "a"))
    await asyncio.wait([write], timeout=0.05)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(write, timeout=10)
    await asyncio.to_thread(let_go, holder)
    assert await steps.all_batch_ids(database) == []


async def test_cancelled_write_stops_at_once_and_is_undone(database: SqlDatabase):
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO workers VALUES ('w1', 'h', 'b', 1, 1.0, 1, 30)")
        loop.call_soon_threadsafe(started.set)
        connection.exec_driver_sql(FOREVER)

    write = asyncio.create_task(database._connections.run_write(endless))
    await started.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(write, timeout=30)
    assert await database.batches.list_workers() == []
    await database.batches.renew_lease(builders.worker("w2", ManualClock().now()))


async def test_write_that_raises_is_undone_and_the_next_one_works(database: SqlDatabase):
    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO workers VALUES ('w1', 'h', 'b', 1, 1.0, 1, 30)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database._connections.run_write(broken)
    assert await database.batches.list_workers() == []
    await steps.submit(database, "a")


async def test_reader_sees_one_snapshot_while_others_write(database: SqlDatabase):
    loop = asyncio.get_running_loop()

    def count_twice(connection: Connection) -> tuple[int, int]:
        first = connection.exec_driver_sql("SELECT count(*) FROM records").scalar()
        asyncio.run_coroutine_threadsafe(steps.submit(database, "a", "b"), loop).result()
        return first, connection.exec_driver_sql("SELECT count(*) FROM records").scalar()

    assert await database._connections.run_read(count_twice) == (0, 0)
    assert (
        await database._connections.run_read(
            lambda c: c.exec_driver_sql("SELECT count(*) FROM records").scalar()
        )
        == 2
    )


async def test_full_disk_is_an_outage_with_advice_and_loses_nothing_acknowledged(database: SqlDatabase):
    batch_id = await steps.submit(database, "a")

    def limit_pages(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await database._connections.run_write(lambda connection: limit_pages(connection, 1))
    many = builders.numbered(10_000)
    with pytest.raises(StoreUnavailableError, match=r"is full or failing .* Free space under"):
        await database.batches.create_processing_records(batch_id, many)
    await database._connections.run_write(lambda connection: limit_pages(connection, 1_000_000))
    await steps.check_all(database)
    assert await steps.statuses(database, batch_id) == {"a": "pending"}
    assert (await database.batches.create_processing_records(batch_id, many)).created == 10_000


async def test_mistake_of_ours_is_no_outage(database: SqlDatabase):
    def insert_twice(connection: Connection) -> None:
        for _ in range(2):
            connection.exec_driver_sql("INSERT INTO workers VALUES ('w1', 'h', 'b', 1, 1.0, 1, 30)")

    with pytest.raises(IntegrityError) as raised:
        await database._connections.run_write(insert_twice)
    assert isinstance(raised.value.__cause__, sqlite3.IntegrityError)


async def test_error_of_the_work_itself_is_left_alone(database: SqlDatabase):
    def fail(_connection: Connection) -> None:
        raise FileNotFoundError("a file of the work")

    with pytest.raises(FileNotFoundError, match="a file of the work"):
        await database._connections.run_write(fail)


async def test_damaged_file_is_named_with_the_next_step(tmp_path: Path):
    await (await new_sqlite(tmp_path, ManualClock())).close()
    path = tmp_path / "gristmill.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    database = SqlDatabase(path, clock=ManualClock())
    with pytest.raises(
        ConfigurationError, match=r"gristmill\.db is not .* damaged .* Restore it from a backup"
    ):
        await database.open()
    await database.close()


WORK = """
import asyncio, sys
from pathlib import Path
from gristmill.domain.record import Done, Report
from gristmill.ports.clock import SystemClock
from gristmill.stores.sql.database import SqlDatabase

async def main():
    database = SqlDatabase(Path(sys.argv[1]), clock=SystemClock())
    await database.open()
    done = 0
    while records := await database.batches.claim_records(sys.argv[2], limit=5):
        refused = await database.batches.update_processing_status([Report(r, Done()) for r in records])
        assert not refused
        done += len(records)
    await database.close()
    print(done)

asyncio.run(main())
"""


def _worker(path: Path, name: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORK, str(path), name], stdout=subprocess.PIPE, text=True)


async def test_processes_that_work_on_one_file_share_it_without_a_conflict(tmp_path: Path):
    path = tmp_path / "gristmill.db"
    database = await new_sqlite(tmp_path, ManualClock())
    batch_id = await steps.submit(database)
    await database.batches.create_processing_records(batch_id, builders.numbered(500))
    workers = [_worker(path, f"w{number}") for number in range(2)]
    others = await steps.submit(database, kind="prices")
    while any(worker.poll() is None for worker in workers):
        progress = await database.batches.get_processing_progress(batch_id)
        assert progress.counters.total == 500
        await database.batches.renew_lease(builders.worker("watcher", ManualClock().now()))
    done = [int(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(done) == 500
    assert (await steps.counters(database, batch_id)).completed == 500
    assert (await steps.counters(database, others)).total == 0
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
