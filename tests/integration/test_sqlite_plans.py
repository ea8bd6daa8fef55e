"""What is asked of SQLite again and again finds its rows by index, at a cost that does not grow with the rest."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, RecordStatus, Report, Retry
from gristmill.stores.sql.database import SqlDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.machine_steps import machine_steps

TIMEOUT = Failure(FailureCategory.TIMEOUT, "Too slow.")
CHOICES = [
    (kinds, in_batch) for kinds in (None, ["documents"], ["documents", "prices"]) for in_batch in (0, 1)
]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock):
    database = await new_sqlite(tmp_path, clock)
    yield database
    await database.close()


@contextmanager
def recorded_statements() -> Iterator[dict[str, Any]]:
    """Every statement run meanwhile, with one set of its parameters."""
    statements: dict[str, Any] = {}

    def record(_connection, _cursor, statement, parameters, _context, executemany):
        statements[statement] = parameters[0] if executemany else parameters

    event.listen(Engine, "before_cursor_execute", record)
    yield statements
    event.remove(Engine, "before_cursor_execute", record)


async def do_everything(database: SqlDatabase, clock: ManualClock) -> None:
    batches = database.batches
    batch_id = await steps.submit(database, *(f"i{number:02}" for number in range(40)))
    await batches.renew_lease(builders.worker("w1", clock.now()))
    for kinds, in_batch in CHOICES:
        chosen = {"kinds": kinds, "batch_id": batch_id if in_batch else None}
        await batches.next_due(**chosen)
        claimed = await batches.claim_records("w1", limit=4, **chosen)
        await batches.record_stages(claimed, stage="extracting", progress=1)
        outcomes = [Done(), Failed(TIMEOUT), Retry(TIMEOUT), None]
        pairs = zip(claimed, outcomes, strict=True)
        await batches.update_processing_status([Report(r, outcome) for r, outcome in pairs if outcome])
    await batches.take_back("w1", renewed_at=clock.now())
    await batches.batch_status_view(batch_id)
    await batches.get_processing_progress(batch_id)
    await batches.get_error_groups(batch_id)
    await batches.get_processing_statistics(clock.now())
    await batches.list_batches(limit=1)
    for status in (None, RecordStatus.FAILED, RecordStatus.PENDING):
        for category in (None, FailureCategory.TIMEOUT):
            page = await batches.get_processing_results(batch_id, status=status, category=category, limit=2)
            await batches.get_processing_results(
                batch_id, status=status, category=category, limit=2, after=page.after
            )
    await batches.retry_failed(batch_id)
    await batches.cancel_batch(batch_id)
    await batches.end_batches()


def plan(path: Path, statement: str, parameters: Any) -> list[str]:
    connection = sqlite3.connect(path)
    found = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    connection.close()
    return found


async def test_every_statement_finds_its_records_by_index(
    database: SqlDatabase, clock: ManualClock, tmp_path: Path
):
    with recorded_statements() as statements:
        await do_everything(database, clock)
    asked = {s: p for s, p in statements.items() if s.split()[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}}
    assert len(asked) > 30
    for statement, parameters in asked.items():
        for step in plan(tmp_path / "gristmill.db", statement, parameters):
            for table in ("records", "error_types", "failures"):
                assert not step.startswith(f"SCAN {table}"), (statement, step)
            assert step != "SCAN batches", statement


async def test_pages_come_in_order_from_the_index(database: SqlDatabase, clock: ManualClock, tmp_path: Path):
    with recorded_statements() as statements:
        await do_everything(database, clock)
    pages = {s: p for s, p in statements.items() if s.startswith("SELECT records") and "LIMIT" in s}
    assert len(pages) >= 8
    for statement, parameters in pages.items():
        steps_of_plan = plan(tmp_path / "gristmill.db", statement, parameters)
        assert not [step for step in steps_of_plan if "TEMP B-TREE" in step], statement


async def test_claim_costs_the_same_however_many_are_due(database: SqlDatabase, clock: ManualClock):
    few, many = [await _steps_of_claim(database, count) for count in (100, 3000)]
    assert 0 < many <= 1.1 * few


async def test_claim_costs_the_same_however_many_wait(database: SqlDatabase, clock: ManualClock):
    few, many = [await _steps_of_claim(database, 100, waiting=count) for count in (0, 3000)]
    assert 0 < many <= 1.1 * few


async def test_claim_costs_the_same_however_many_were_cancelled(database: SqlDatabase, clock: ManualClock):
    few = await _steps_of_claim(database, 100)
    stopped = await steps.submit(database)
    await database.batches.create_processing_records(stopped, builders.numbered(3000))
    await database.batches.cancel_batch(stopped)
    many = await _steps_of_claim(database, 100)
    assert 0 < many <= 1.1 * few


async def _steps_of_claim(database: SqlDatabase, due: int, *, waiting: int = 0) -> int:
    other = await steps.submit(database, priority=5)
    await database.batches.create_processing_records(other, builders.numbered(waiting))
    while held := await database.batches.claim_records("w1", limit=1000, batch_id=other):
        await database.batches.update_processing_status([Report(r, Retry(TIMEOUT)) for r in held])
    batch_id = await steps.submit(database)
    await database.batches.create_processing_records(batch_id, builders.numbered(due))
    return await machine_steps(database, lambda: database.batches.claim_records("w1", limit=20))
