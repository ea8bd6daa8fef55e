"""Moves that are statements on SQLite do exactly what ``domain.moves`` does."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from gristmill.domain import moves
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import EXTRACTING, Record, RecordStatus, Report, Retry, Snooze
from gristmill.stores.sql.database import SqlDatabase
from tests.contract import batches_contract_steps as steps
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite

TIMEOUT = Failure(FailureCategory.TIMEOUT, "Too slow.")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def database(tmp_path: Path, clock: ManualClock):
    database = await new_sqlite(tmp_path, clock)
    yield database
    await database.close()


async def records_of_every_past(database: SqlDatabase, clock: ManualClock) -> UUID:
    """A batch whose records are new, retried, snoozed, released, held with a stage, and failed."""
    batch_id = await steps.submit(database, *"abcdefgh", priority=2)
    held = {record.item_id: record for record in await steps.claim(database)}
    await database.batches.record_stages([held["a"], held["e"]], stage=EXTRACTING, progress=50)
    clock.advance(1)
    await database.batches.update_processing_status(
        [
            Report(held["a"], Retry(TIMEOUT)),
            Report(held["b"], Retry(TIMEOUT)),
            Report(held["c"], Snooze(5)),
            Report(held["g"], Snooze(5, TIMEOUT)),
        ]
    )
    await steps.fail(database, held["f"])
    await steps.fail(database, held["h"], category=FailureCategory.CRASHED)
    await database.batches.release_records([held["d"]])
    clock.advance(hours=1)
    return batch_id


def without_write_id(record: Record) -> Record:
    return replace(record, version=replace(record.version, write_id=""))


async def by_item(database: SqlDatabase, batch_id: UUID, status: RecordStatus | None = None):
    return {record.item_id: record for record in await steps.records_of(database, batch_id, status=status)}


def check_moved(before: dict[str, Record], after: dict[str, Record], move) -> None:
    assert before
    for item_id, record in before.items():
        assert without_write_id(after[item_id]) == without_write_id(move(record))
    write_ids = {after[item_id].version.write_id for item_id in before}
    assert len(write_ids) == len(before)
    assert not write_ids & {record.version.write_id for record in before.values()}


async def test_claim_is_the_move_of_the_domain(database: SqlDatabase, clock: ManualClock):
    batch_id = await records_of_every_past(database, clock)
    before = await by_item(database, batch_id, RecordStatus.PENDING)
    claimed = {record.item_id: record for record in await steps.claim(database, worker="w7")}
    write = moves.Write(clock.now(), "")
    claim_id = next(iter(claimed.values())).claim_id
    check_moved(before, claimed, lambda r: moves.claim(r, claim_id=claim_id, worker="w7", write=write))
    assert claimed.items() <= (await by_item(database, batch_id)).items()


async def test_cancel_is_the_move_of_the_domain(database: SqlDatabase, clock: ManualClock):
    batch_id = await records_of_every_past(database, clock)
    stored = await by_item(database, batch_id)
    before = {item_id: r for item_id, r in stored.items() if r.status in {"pending", "processing"}}
    assert await database.batches.cancel_batch(batch_id) == len(before)
    after = await by_item(database, batch_id)
    write = moves.Write(clock.now(), "")
    check_moved(before, after, lambda record: moves.cancel(record, write))
    assert {i: after[i] for i in stored.keys() - before.keys()} == {
        i: stored[i] for i in stored.keys() - before.keys()
    }


async def test_reopening_is_the_move_of_the_domain(database: SqlDatabase, clock: ManualClock):
    batch_id = await records_of_every_past(database, clock)
    before = await by_item(database, batch_id, RecordStatus.FAILED)
    assert await database.batches.retry_failed(batch_id, permanent=True) == len(before) == 2
    write = moves.Write(clock.now(), "")
    after = await by_item(database, batch_id)
    check_moved(before, after, lambda record: moves.reopen(record, batch_round=1, write=write))
    await steps.check_all(database)
