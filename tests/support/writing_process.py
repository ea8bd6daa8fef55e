"""A process that writes to an SQLite file through the real port until it is killed: one printed line for each acknowledgement.

``python -m tests.support.writing_process FILE SEED``
"""

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from gristmill.domain.record import Done, Report, Result
from gristmill.ports.clock import SystemClock
from gristmill.stores.sql.database import SqlDatabase
from tests.support import builders

ITEMS_A_CALL = 5


def acknowledge(**written: Any) -> None:
    sys.stdout.write(json.dumps(written) + "\n")
    sys.stdout.flush()


async def write(path: Path, seed: int) -> None:
    database = SqlDatabase(path, clock=SystemClock())
    await database.open()
    drawn = random.Random(seed)
    for number in range(1_000_000):
        batch_id = str(UUID(int=number + 1))
        await write_batch(database, UUID(batch_id), calls=drawn.randint(1, 4))


async def write_batch(database: SqlDatabase, batch_id: UUID, *, calls: int) -> None:
    batches, key = database.batches, str(batch_id)
    await batches.create_batch(builders.new_batch(batch_id))
    for call in range(calls):
        items = builders.numbered(ITEMS_A_CALL, start=ITEMS_A_CALL * call)
        await batches.create_processing_records(batch_id, items)
        acknowledge(batch=key, items=[item.item_id for item in items])
    await batches.seal_batch(batch_id)
    acknowledge(batch=key, sealed=ITEMS_A_CALL * calls)
    while claimed := await batches.claim_records("w1", limit=3, batch_id=batch_id):
        acknowledge(batch=key, claimed={record.item_id: record.epoch for record in claimed})
        refused = await batches.update_processing_status(
            [Report(record, Done(Result(details={"of": record.item_id}))) for record in claimed]
        )
        assert not refused
        acknowledge(batch=key, completed=[record.item_id for record in claimed])
    await batches.end_batches([batch_id])
    acknowledge(batch=key, ended=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
