"""What the engine costs with a large backlog: memory of a submission, claims, and looking at a batch."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from bench import engine_work, product
from bench.context import Context, say
from bench.tables import Measure
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Outcome, Report, outcome_of
from gristmill.stores.sql.database import SqlDatabase

CLAIMS = 41
LOOKS = 15
# So many records of the batch that is looked at got outcomes, each group of them other errors.
MIXED = 20_000
_MIXED_GROUP = 1_000
_REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Backlog:
    small_memory: float  # MiB
    large_memory: float
    claim_of_small: Measure
    claim_of_large: Measure
    progress: Measure
    view: Measure


def measure(context: Context, *, small: int, large: int, mixed: int) -> Backlog:
    folder = context.folder("engine")
    few, many = folder / "few.db", folder / "many.db"
    batch_id = uuid4()
    say(f"submissions of {small:,} and {large:,} items, each in a process of its own")
    memory = _submission_memory(few, small, uuid4()), _submission_memory(many, large, batch_id)
    claims = asyncio.run(_claims(few, many))
    looks = asyncio.run(_looks(many, batch_id, mixed))
    for path in folder.glob("*.db*"):
        path.unlink()
    return Backlog(*memory, *claims, *looks)


def _submission_memory(path: Path, count: int, batch_id: UUID) -> float:
    command = [sys.executable, "-m", "bench.submission_memory", str(path), str(count), str(batch_id)]
    environment = product.clean_environment()
    done = subprocess.run(
        command, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise product.UnexpectedError(f"A submission of {count} items failed: {done.stderr}")
    return float(done.stdout)


async def _claims(few: Path, many: Path) -> tuple[Measure, Measure]:
    """In turns; what was claimed is given back, so that every claim meets as many."""
    say("claims")
    seconds: tuple[list[float], list[float]] = ([], [])
    async with engine_work.opened(few) as small, engine_work.opened(many) as large:
        for _ in range(CLAIMS):
            for database, taken in zip((small, large), seconds, strict=True):
                taken.append(await _claim(database))
    return _milliseconds(seconds[0]), _milliseconds(seconds[1])


async def _claim(database: SqlDatabase) -> float:
    started = time.perf_counter()
    claimed = await database.batches.claim_records(
        engine_work.WORKER, limit=engine_work.GROUP, kinds=[engine_work.KIND]
    )
    seconds = time.perf_counter() - started
    if len(claimed) != engine_work.GROUP or await database.batches.release_records(claimed) != len(claimed):
        raise product.UnexpectedError(f"{len(claimed)} records were claimed, or not all given back")
    return seconds


async def _looks(path: Path, batch_id: UUID, mixed: int) -> tuple[Measure, Measure]:
    async with engine_work.opened(path) as database:
        say(f"outcomes for {mixed:,} records")
        await _mix(database, mixed)
        say("progress and status view")
        batches = database.batches
        progress = await _times(lambda: batches.get_processing_progress(batch_id))
        return progress, await _times(lambda: batches.batch_status_view(batch_id))


async def _mix(database: SqlDatabase, mixed: int) -> None:
    for start in range(0, mixed, _MIXED_GROUP):
        claimed = await database.batches.claim_records(
            engine_work.WORKER, limit=_MIXED_GROUP, kinds=[engine_work.KIND]
        )
        reports = [Report(record, _outcome(start, number)) for number, record in enumerate(claimed)]
        await database.batches.update_processing_status(reports)
    # These stay in processing.
    await database.batches.claim_records(
        engine_work.WORKER, limit=engine_work.GROUP, kinds=[engine_work.KIND]
    )


def _outcome(group: int, number: int) -> Outcome:
    """Half are done; the others fail or wait, by category, some with a message of their own."""
    if number % 2:
        return Done()
    categories = list(FailureCategory)
    category = categories[number // 2 % len(categories)]
    message = f"Item {group + number} is broken." if number % 10 == 0 else f"This is {category.value}."
    return outcome_of(Failure(category, message))


async def _times(look: Callable[[], Awaitable[object]]) -> Measure:
    seconds = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        await look()
        seconds.append(time.perf_counter() - started)
    return _milliseconds(seconds)


def _milliseconds(seconds: list[float]) -> Measure:
    return Measure.of([1_000 * each for each in seconds], "ms")
