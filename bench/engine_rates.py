"""How fast records go through the engine's database, plain sqlite3 and huey, in turns, so that noise hits all alike."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import engine_work, plain_sqlite, product
from bench.context import say
from bench.tables import Measure

HUEY = Path(__file__).with_name("huey_tasks.py")
HUEY_PYTHON = Path(__file__).parents[1] / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Rates:
    """Records a second."""

    submit: float
    work: float

    @property
    def through(self) -> float:
        """Submitted, claimed and completed."""
        return 1 / (1 / self.submit + 1 / self.work)


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement of each, one after the other; ``huey`` is None where it has no turn or is not installed."""

    ours: Rates
    plain: Rates
    huey: float | None


def measure(place: Path, *, records: int, tasks: int, repeats: int) -> list[Turn]:
    """On the file system of ``place``; without ``tasks`` huey has no turn."""
    rows = plain_sqlite.rows_of(list(engine_work.items(records)))
    turns = []
    for number in range(repeats):
        say(f"{records:,} records through each under {place}, turn {number + 1} of {repeats}")
        with tempfile.TemporaryDirectory(dir=place) as folder:
            turns.append(
                Turn(
                    plain=_plain(Path(folder) / "plain.db", rows),
                    ours=asyncio.run(_ours(Path(folder) / "ours.db", records)),
                    huey=_huey(Path(folder) / "huey.db", tasks),
                )
            )
    return turns


def of(values: Sequence[float], unit: str = "records/s") -> Measure:
    return Measure.of(values, unit)


def _plain(path: Path, rows: Sequence[plain_sqlite.Row]) -> Rates:
    with plain_sqlite.opened(path) as connection:
        started = time.perf_counter()
        plain_sqlite.insert(connection, rows)
        inserted = time.perf_counter()
        done = plain_sqlite.claim_and_complete(connection, engine_work.KIND)
        return _rates(len(rows), done, started, inserted)


async def _ours(path: Path, records: int) -> Rates:
    async with engine_work.opened(path) as database:
        started = time.perf_counter()
        await engine_work.submit_items(database, records)
        submitted = time.perf_counter()
        done = await engine_work.claim_and_complete(database)
        return _rates(records, done, started, submitted)


def _rates(records: int, done: int, started: float, submitted: float) -> Rates:
    ended = time.perf_counter()
    if done != records:
        raise product.UnexpectedError(f"{done} of {records} records were completed")
    return Rates(records / (submitted - started), records / (ended - submitted))


def _huey(path: Path, tasks: int) -> float | None:
    if not tasks or not HUEY_PYTHON.exists():
        return None
    command = [HUEY_PYTHON, HUEY, str(path), str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise product.UnexpectedError(f"huey ended with {done.returncode}: {done.stderr}")
    return tasks / float(done.stdout)
