"""The files behind a vector matrix: float32 rows and their numbers, appended under a lock, mapped by readers.

They are derived from the database and may be deleted at any time; a generation of files is only ever appended
to, because other processes may have it mapped.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

LOCK_WAIT_SECONDS = 0.5
_LOCK_POLL_SECONDS = 0.01
_NUMBER_BYTES = np.dtype(np.int64).itemsize
_FLOAT_BYTES = np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors, one a row, and the number of each, ascending."""

    numbers: NDArray[np.int64]
    vectors: NDArray[np.float32]

    @property
    def last(self) -> int:
        """The highest number; 0, below every number, when there are no rows."""
        return int(self.numbers[-1]) if len(self.numbers) else 0


def no_rows(dimensions: int) -> Rows:
    return Rows(np.empty(0, np.int64), np.empty((0, dimensions), np.float32))


@dataclass(frozen=True, slots=True)
class Mapped:
    """The rows of one generation of files as they were when it was mapped."""

    generation: str
    rows: Rows


class VectorFiles:
    """The rows of one embedding identity.

    ``incarnation`` is the database's: files that bear another one are not used. What the file system refuses
    is raised as OSError, a lock that another process keeps too long (it may be frozen) as TimeoutError. Each
    call is complete in itself, so one that runs on in its thread after a cancel does no harm.
    """

    def __init__(self, folder: Path, name: str, *, incarnation: UUID, dimensions: int) -> None:
        self._folder = folder
        self._name = name
        self._incarnation = incarnation.hex
        self._dimensions = dimensions

    def load(self) -> Mapped:
        """Map what is there; no rows if there is nothing usable."""
        generation = self._generation()
        try:
            rows = self._map(generation) if generation else no_rows(self._dimensions)
        except (FileNotFoundError, ValueError):
            rows = no_rows(self._dimensions)
        return Mapped(generation, rows)

    def extend(self, mapped: Mapped, rows: Rows) -> Mapped:
        """Add rows that follow those mapped, without what another process added first; returns what is there now."""
        with self._lock():
            now = self.load()
            if now.generation == mapped.generation and now.rows.last >= mapped.rows.last:
                fresh = rows.numbers > now.rows.last
                self._append(now, Rows(rows.numbers[fresh], rows.vectors[fresh]))
        return self.load()

    def start_over(self, mapped: Mapped) -> Mapped:
        """Begin an empty generation instead of this one, unless another process did; returns what is there now."""
        with self._lock():
            if self._generation() == mapped.generation:
                self._begin(uuid4().hex)
        return self.load()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{self._name}.lock").open("ab") as file:
            _wait_for_lock(file.fileno())
            yield

    def _append(self, mapped: Mapped, rows: Rows) -> None:
        # The numbers come last: a crash in between leaves a tail that nobody maps and the next call cuts off.
        vectors, numbers = self._paths(mapped.generation)
        whole = len(mapped.rows.numbers)
        _write_at(vectors, whole * self._dimensions * _FLOAT_BYTES, rows.vectors)
        _write_at(numbers, whole * _NUMBER_BYTES, rows.numbers)

    def _begin(self, generation: str) -> None:
        for path in self._paths(generation):
            path.touch()
        draft = self._header.with_suffix(".draft")
        draft.write_text(
            json.dumps(
                {
                    "incarnation": self._incarnation,
                    "dimensions": self._dimensions,
                    "generation": generation,
                }
            )
        )
        draft.replace(self._header)
        self._forget_others(generation)

    @property
    def _header(self) -> Path:
        return self._folder / f"{self._name}.json"

    def _paths(self, generation: str) -> tuple[Path, Path]:
        stem = f"{self._name}.{generation}"
        return self._folder / f"{stem}.f32", self._folder / f"{stem}.i64"

    def _generation(self) -> str:
        try:
            header = json.loads(self._header.read_bytes())
            ours = header["incarnation"] == self._incarnation and header["dimensions"] == self._dimensions
            usable = ours and all(path.exists() for path in self._paths(header["generation"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""
        return str(header["generation"]) if usable else ""

    def _map(self, generation: str) -> Rows:
        vectors, numbers = self._paths(generation)
        whole = numbers.stat().st_size // _NUMBER_BYTES
        listed = np.fromfile(numbers, np.int64, count=whole)
        if not len(listed):
            return no_rows(self._dimensions)
        # Raises ValueError when the file is shorter than its numbers say.
        mapped = np.memmap(vectors, np.float32, mode="r", shape=(len(listed), self._dimensions))
        if listed[0] < 1 or np.any(np.diff(listed) < 1):
            return no_rows(self._dimensions)
        return Rows(listed, mapped.view(np.ndarray))

    def _forget_others(self, generation: str) -> None:
        # Processes that still map them keep what they have mapped.
        kept = set(self._paths(generation))
        for path in self._folder.glob(f"{self._name}.*.[fi]*"):
            if path not in kept:
                with suppress(FileNotFoundError):
                    path.unlink()


def _write_at(path: Path, position: int, rows: NDArray[np.float32] | NDArray[np.int64]) -> None:
    with path.open("r+b") as file:
        file.truncate(position)
        file.seek(position)
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
        # A power cut must not leave numbers of rows that never reached the disk.
        os.fdatasync(file.fileno())


def _wait_for_lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Another process has held a lock for {LOCK_WAIT_SECONDS} s.") from None
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return
