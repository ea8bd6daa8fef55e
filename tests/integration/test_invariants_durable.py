"""Invariants 1 and 10, each by its name: what was acknowledged survives, and work costs the same however much waits."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gristmill.domain.batch import BatchStatus
from gristmill.domain.record import Done, Record, RecordStatus, Report, Result
from gristmill.ports.clock import SystemClock
from gristmill.ports.database import Database
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.machine_steps import machine_steps

ROOT = Path(__file__).resolve().parents[2]
FEW, MANY = 1_000, 30_000


def written_until_killed(path: Path, seed: int) -> list[dict[str, Any]]:
    """What a process said was acknowledged before it was killed, at a moment drawn by the seed."""
    command = [sys.executable, "-m", "tests.support.writing_process", str(path), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(random.Random(seed).randint(3, 60))]
        process.kill()  # SIGKILL, in the middle of whatever it does now.
        lines += process.stdout.readlines()
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


async def check_acknowledged(database: Database, said: dict[str, Any]) -> None:
    batch_id = UUID(said["batch"])
    batch = await database.batches.get_batch(batch_id)
    assert batch is not None
    found = {record.item_id: record for record in await steps.records_of(database, batch_id)}
    assert found.keys() >= set(said.get("items", ()))
    for item_id in said.get("completed", ()):
        assert found[item_id].status is RecordStatus.COMPLETED
        assert found[item_id].result == Result(details={"of": item_id})
    assert all(found[item_id].epoch >= epoch for item_id, epoch in said.get("claimed", {}).items())
    if "sealed" in said:
        assert batch.sealed_at is not None
        assert batch.total_files == len(found) == said["sealed"]
    if "ended" in said:
        assert batch.status is BatchStatus.COMPLETED


@pytest.mark.parametrize("seed", range(5))
async def test_invariant_1_what_was_acknowledged_survives_kill_9_on_sqlite(tmp_path, seed):
    path = tmp_path / "gristmill.db"
    acknowledged = written_until_killed(path, seed)
    assert len(acknowledged) >= 3
    database = SqlDatabase(path, clock=SystemClock())
    await database.open()
    for said in acknowledged:
        await check_acknowledged(database, said)
    await steps.check_all(database)
    await database.close()


@pytest.mark.parametrize("seed", range(5))
async def test_invariant_1_what_was_acknowledged_stays_on_memory(seed):
    """What memory holds ends with its process, so the promise is about calls: also one that fails takes nothing back."""
    database, drawn = MemoryDatabase(ManualClock()), random.Random(seed)
    batch_id = await steps.submit(database)
    acknowledged: list[dict[str, Any]] = []
    for call in range(20):
        said: dict[str, Any] = {"batch": str(batch_id)}
        items = builders.numbered(drawn.randint(1, 9), start=10 * call)
        await database.batches.create_processing_records(batch_id, items)
        acknowledged.append(said | {"items": [item.item_id for item in items]})
        claimed = await steps.claim(database, drawn.randint(1, 9))
        reports = [Report(each, Done(Result(details={"of": each.item_id}))) for each in claimed]
        assert not await database.batches.update_processing_status(reports)
        acknowledged.append(said | {"completed": [each.item_id for each in claimed]})
        with pytest.raises(ValueError, match="no usable item_id"):
            await database.batches.create_processing_records(batch_id, builders.items("z", ""))
    for said in acknowledged:
        await check_acknowledged(database, said)
    assert "z" not in await steps.statuses(database, batch_id)


async def costs_of_a_turn(database: SqlDatabase, batch_id: UUID) -> dict[str, int]:
    """Of what a worker and a user do again and again, after a first turn that pays what is paid once."""
    batches, held = database.batches, list[Record]()

    async def claim() -> None:
        held.extend(await batches.claim_records("w1", limit=20))

    async def settle() -> None:
        await batches.update_processing_status([Report(record, Done()) for record in held])
        held.clear()

    turn = {
        "claim": claim,
        "outcome": settle,
        "progress": lambda: batches.get_processing_progress(batch_id),
        "view": lambda: batches.batch_status_view(batch_id),
        "next_due": batches.next_due,
    }
    for work in turn.values():
        await work()
    return {name: await machine_steps(database, work) for name, work in turn.items()}


async def test_invariant_10_cost_does_not_grow_with_the_backlog_on_sqlite(tmp_path):
    costs = []
    for pending in (FEW, MANY):
        folder = tmp_path / str(pending)
        folder.mkdir()
        database = await new_sqlite(folder, ManualClock())
        batch_id = await steps.submit(database)
        for start in range(0, pending, 5_000):
            items = builders.numbered(min(pending, 5_000), start=start)
            await database.batches.create_processing_records(batch_id, items)
        costs.append(await costs_of_a_turn(database, batch_id))
        await database.close()
    few, many = costs
    assert all(few.values()), few
    assert not {name: (few[name], many[name]) for name in few if many[name] > 1.5 * few[name]}


async def test_invariant_10_answers_do_not_grow_with_the_backlog_on_memory():
    """On memory only the size of answers is held to it.

    It is dicts that are scanned, on purpose: the shortest statement of what the port means, not a store to grow.
    """
    database = MemoryDatabase(ManualClock())
    batch_id = await steps.submit(database)
    await database.batches.create_processing_records(batch_id, builders.numbered(5_000))
    assert len(await database.batches.claim_records("w1", limit=20)) == 20
    page = await database.batches.get_processing_results(batch_id, limit=50)
    assert (len(page.records), page.after is None) == (50, False)
    view = await database.batches.batch_status_view(batch_id)
    assert (len(view.top_error_types), view.total_documents) == (0, 5_000)
