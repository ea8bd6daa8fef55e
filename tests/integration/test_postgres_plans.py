"""A claim and its outcomes read what they change, not the batch, also before PostgreSQL has counted its rows."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import event

from gristmill.ports.clock import SystemClock
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.postgres_databases import PostgresHost

ITEMS, CLAIMED = 5_000, 50


def rows_read(plan: dict[str, Any]) -> Iterator[float]:
    """Of every step of a plan, also the rows that it read for nothing."""
    yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for each in plan.get("Plans", []):
        yield from rows_read(each)


async def test_no_statement_reads_the_whole_batch(postgres: PostgresHost):
    read: dict[str, float] = {}

    def explain(connection, _cursor, statement, parameters, _context, many):
        if many or not statement.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
            return
        driver = connection.connection.driver_connection
        with driver.transaction(force_rollback=True), driver.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters, prepare=False)
            ((found,),) = cursor.fetchall()
        read[statement] = max(rows_read(found[0]["Plan"]))

    async with postgres.attached(postgres.create(), SystemClock()) as database:
        batch_id = await steps.submit(database)
        for start in range(0, ITEMS, 1_000):
            await database.batches.create_processing_records(batch_id, builders.numbered(1_000, start=start))
        event.listen(database._connections._writers, "before_cursor_execute", explain)
        claimed = await database.batches.claim_records("w", limit=CLAIMED)
        await steps.complete(database, *claimed)

    assert len(claimed) == CLAIMED
    assert any("attempts" in statement for statement in read)
    assert {statement: rows for statement, rows in read.items() if rows > 4 * CLAIMED} == {}
