"""What the outcome of one record costs in a small batch and in a large one, in turns."""

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from bench import engine_work
from bench.product import UnexpectedError
from bench.tables import Measure
from gristmill.domain.record import Done, Record, Report
from gristmill.ports.database import Database

UPDATES = 41
Opening = AbstractAsyncContextManager[Database]


async def measure(few: Opening, many: Opening, *, small: int, large: int) -> tuple[Measure, Measure]:
    """Milliseconds of ``UPDATES`` updates among ``small`` records and among ``large``."""
    async with few as one, many as other:
        databases = (one, other)
        claimed = [await _claimed(each, count) for each, count in zip(databases, (small, large), strict=True)]
        milliseconds: tuple[list[float], list[float]] = ([], [])
        for records in zip(*claimed, strict=True):
            for database, record, taken in zip(databases, records, milliseconds, strict=True):
                taken.append(await _update(database, record))
    return Measure.of(milliseconds[0], "ms"), Measure.of(milliseconds[1], "ms")


async def _claimed(database: Database, count: int) -> Sequence[Record]:
    await engine_work.submit_items(database, count)
    return await database.batches.claim_records(engine_work.WORKER, limit=UPDATES, kinds=[engine_work.KIND])


async def _update(database: Database, record: Record) -> float:
    started = time.perf_counter()
    refused = await database.batches.update_processing_status([Report(record, Done())])
    seconds = time.perf_counter() - started
    if refused:
        raise UnexpectedError("an outcome was refused")
    return 1_000 * seconds
