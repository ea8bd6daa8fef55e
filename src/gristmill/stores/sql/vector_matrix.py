"""Exact vector search: all vectors of an embedding identity as one matrix, kept up to date by a change cursor."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select

from gristmill.domain.document import EmbeddingIdentity
from gristmill.stores.sql.tables_documents import vectors
from gristmill.stores.sql.value_lists import numbers_in, packed_numbers
from gristmill.stores.sql.vector_files import Rows, VectorFiles, no_rows

ROWS_AT_A_TIME = 4096
_ROWS_COMPARED = 16
_PARTS = 16

_of_embedding = vectors.c.embedding_no == bindparam("embedding_no")
_LAST_NUMBER = select(vectors.c.no).where(_of_embedding).order_by(vectors.c.no.desc()).limit(1)
_ROWS_AFTER = (
    select(vectors.c.no, vectors.c.data)
    .where(_of_embedding, vectors.c.no > bindparam("after"))
    .order_by(vectors.c.no)
    .limit(ROWS_AT_A_TIME)
)
_ROWS_OF = (
    select(vectors.c.no, vectors.c.data)
    .where(_of_embedding, vectors.c.no.in_(numbers_in("numbers")))
    .order_by(vectors.c.no)
)


class Matrix:
    """A fixed view of the vectors; rows are of unit length, so that products with a unit vector are cosines."""

    def __init__(self, parts: tuple[Rows, ...]) -> None:
        self._parts = parts
        self.numbers = parts[0].numbers if len(parts) == 1 else np.concatenate([p.numbers for p in parts])

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of every row, in the order of ``numbers``; equal rows score equal wherever they stand.

        Row by row, which takes as long as a matrix product but no BLAS threads: on a busy machine those wait
        for each other ten times longer than they work.
        """
        found = np.empty(len(self.numbers), np.float32)
        start = 0
        for part in self._parts:
            end = start + len(part.numbers)
            np.vecdot(part.vectors, query, out=found[start:end])
            start = end
        # A vector with a number that is none would otherwise spoil the ranking of all others.
        np.nan_to_num(found, copy=False, nan=-1, posinf=-1, neginf=-1)
        return found

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of the vectors at these positions of ``numbers``."""
        chosen = np.empty((len(positions), self._parts[0].vectors.shape[1]), np.float32)
        start = 0
        for part in self._parts:
            end = start + len(part.numbers)
            inside = (positions >= start) & (positions < end)
            chosen[inside] = part.vectors[positions[inside] - start]
            start = end
        return chosen


@dataclass(frozen=True, slots=True)
class _Current:
    """``confirmed`` is the last stored number that the matrix was compared with."""

    matrix: Matrix
    confirmed: int


class VectorMatrix:
    """The matrix of one embedding identity in one process.

    Its rows are in files that all processes share; what cannot be put there (a full disk, a folder that is
    read-only, a frozen process that holds the lock) is kept in memory, so that search never depends on them.
    """

    def __init__(
        self, folder: Path, embedding_no: int, *, embedding: EmbeddingIdentity, incarnation: UUID
    ) -> None:
        self._embedding_no = embedding_no
        self._embedding = embedding
        name = f"vectors-{embedding_no}"
        self._files = VectorFiles(folder, name, incarnation=incarnation, dimensions=embedding.dimensions)
        self._catching_up = threading.Lock()
        self._mapped = no_rows(embedding.dimensions)
        self._tail: list[Rows] = []
        self._current = _Current(Matrix((self._mapped,)), confirmed=0)

    def catch_up(self, connection: Connection) -> Matrix:
        """The matrix with at least every vector that the connection's transaction sees."""
        parameters = {"embedding_no": self._embedding_no}
        stored = connection.execute(_LAST_NUMBER, parameters).scalar() or 0
        current = self._current
        if stored == current.confirmed:
            return current.matrix
        with self._catching_up:
            if stored != self._current.confirmed:
                self._follow(connection, stored)
            return self._current.matrix

    def _follow(self, connection: Connection, stored: int) -> None:
        try:
            self._follow_files(connection, stored)
        except OSError:
            self._follow_in_memory(connection, stored)
        self._current = _Current(Matrix((self._mapped, *self._tail)), confirmed=stored)

    def _follow_files(self, connection: Connection, stored: int) -> None:
        mapped = self._files.load()
        if not self._agrees(connection, Matrix((mapped.rows,)), stored):
            mapped = self._files.start_over(mapped)
        while mapped.rows.last < stored:
            more = self._rows_after(connection, mapped.rows.last)
            mapped = self._files.extend(mapped, more)
        self._mapped, self._tail = mapped.rows, []

    def _follow_in_memory(self, connection: Connection, stored: int) -> None:
        if not self._agrees(connection, self._current.matrix, stored):
            self._mapped, self._tail = no_rows(self._embedding.dimensions), []
        last = max(rows.last for rows in (self._mapped, *self._tail))
        while last < stored:
            self._tail.append(self._rows_after(connection, last))
            last = self._tail[-1].last
        if len(self._tail) > _PARTS:
            self._tail = [_joined(self._tail)]

    def _agrees(self, connection: Connection, matrix: Matrix, stored: int) -> bool:
        """Whether a sample of the rows that the transaction can see, the last among them, is as it is stored.

        The rows of a database that was replaced by a backup differ: there numbers are given a second time.
        """
        seen = int(np.searchsorted(matrix.numbers, stored, side="right"))
        if seen == 0:
            return False
        sample = np.unique(np.linspace(0, seen - 1, _ROWS_COMPARED).astype(np.int64))
        numbers = matrix.numbers[sample]
        parameters = {"embedding_no": self._embedding_no, "numbers": packed_numbers(numbers)}
        found = rows_of(connection.execute(_ROWS_OF, parameters).all(), self._embedding)
        same_numbers = np.array_equal(found.numbers, numbers)
        return same_numbers and np.array_equal(found.vectors, matrix.rows(sample), equal_nan=True)

    def _rows_after(self, connection: Connection, last: int) -> Rows:
        parameters = {"embedding_no": self._embedding_no, "after": last}
        return rows_of(connection.execute(_ROWS_AFTER, parameters).all(), self._embedding)


class Matrices:
    """The vector matrices of one process, by embedding identity."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._matrices: dict[int, VectorMatrix] = {}

    def of(self, embedding_no: int, *, embedding: EmbeddingIdentity, incarnation: UUID) -> VectorMatrix:
        known = self._matrices.get(embedding_no)
        if known is not None:
            return known
        matrix = VectorMatrix(self._folder, embedding_no, embedding=embedding, incarnation=incarnation)
        # Readers run in threads: all must use the one that came first.
        return self._matrices.setdefault(embedding_no, matrix)


def rows_of(found: Sequence[Any], embedding: EmbeddingIdentity) -> Rows:
    """Rows of unit length from the numbers and stored vectors that a statement found."""
    numbers = np.array([number for number, _ in found], np.int64)
    stored = np.frombuffer(b"".join(data for _, data in found), np.float32)
    rows = stored.reshape(len(found), embedding.dimensions)
    return Rows(numbers, rows if embedding.normalised else _unit_rows(rows))


def _joined(parts: list[Rows]) -> Rows:
    numbers = np.concatenate([part.numbers for part in parts])
    return Rows(numbers, np.concatenate([part.vectors for part in parts]))


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    # In double precision: the squares of what float32 holds can be too large for it, or too small.
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return unit
