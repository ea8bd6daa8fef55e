"""What every part is given: where data lies, where to work, how much to do."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.tables import Measure

DATA_VARIABLE = "GRISTMILL_BENCH_DATA"
DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


class DataMissingError(Exception):
    """Public data that a part needs is not on this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"There is no {self.path}. The collection is not part of the repository: put it there, name its "
            f"parent folder by --data or {DATA_VARIABLE}, or choose other parts by --only."
        )


@dataclass(frozen=True, slots=True)
class Context:
    """``work`` is a folder of this run alone; ``quick`` is for trying the benchmark itself, its figures mean nothing."""

    data: Path
    work: Path
    quick: bool = False
    repeats: int = 5

    def collection(self, name: str) -> Path:
        """The folder of a public collection. Raises DataMissingError."""
        folder = self.data / name
        if not folder.is_dir():
            raise DataMissingError(folder)
        return folder

    def size(self, full: int, *, quick: int) -> int:
        return quick if self.quick else full

    def folder(self, name: str) -> Path:
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def default_data() -> Path:
    return Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA)


def timed(work: Callable[[], object], *, repeats: int) -> Measure:
    """Wall seconds of ``work``, called ``repeats`` times."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Measure.of(seconds, "s")


def say(text: str) -> None:
    """Progress for whoever waits; results go to the tables."""
    print(f"  {text} ...", flush=True)
