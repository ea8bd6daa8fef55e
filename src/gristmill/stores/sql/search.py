"""Searching live chunks: each leg proposes candidates, best first, and the database says which may be shown.

Everything happens in one read transaction, so both legs see the same live versions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, select

from gristmill.ports.documents import ChunkQuery, Legs, Vector
from gristmill.stores.sql import collection_rows, documents_read, text_index
from gristmill.stores.sql.candidates import Candidates, Numbers
from gristmill.stores.sql.collection_rows import CollectionRow
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_documents import attributes, chunks, documents, vectors
from gristmill.stores.sql.text_index import Statistics
from gristmill.stores.sql.value_lists import numbers_in, packed_numbers, packed_texts, texts_in
from gristmill.stores.sql.vector_matrix import VectorMatrix

# How many candidates are looked at, in multiples of the limit, before all that may be shown are listed instead.
_LOOKS = (1.5, 8)
_LOOKS_FILTERED = (4, 16)

_live = and_(documents.c.no == chunks.c.document_no, documents.c.live_version == chunks.c.version)
_COLUMNS = (chunks.c.no.label("chunk_no"), chunks.c.chunk_id)
_OF_CHUNKS = select(chunks.c.no.label("candidate"), *_COLUMNS).join(documents, _live)
_OF_VECTORS = (
    select(vectors.c.no.label("candidate"), *_COLUMNS)
    .select_from(vectors)
    .join(chunks, chunks.c.vector_id == vectors.c.vector_id)
    .join(documents, _live)
)
_in_collection = documents.c.collection_no == bindparam("collection_no")
# The sum keeps the index of collections out of it: few candidates lead to few documents, a collection to all.
_also_in_collection = documents.c.collection_no + 0 == bindparam("collection_no")


@dataclass(frozen=True, slots=True, eq=False)
class _Leg:
    """How a leg's candidates lead to chunks."""

    statement: Select[Any]
    candidate: ColumnElement[int]


_TEXT = _Leg(_OF_CHUNKS, chunks.c.no)
_VECTOR = _Leg(_OF_VECTORS, vectors.c.no)


@dataclass(frozen=True, slots=True)
class _Found:
    """A chunk that may be shown."""

    score: float
    chunk_id: bytes
    chunk_no: int


class Matrices:
    """The vector matrices of one process, by embedding identity."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._matrices: dict[int, VectorMatrix] = {}

    def of(self, row: CollectionRow) -> VectorMatrix:
        known = self._matrices.get(row.embedding_no)
        if known is not None:
            return known
        matrix = VectorMatrix(
            self._folder,
            row.embedding_no,
            embedding=row.collection.embedding,
            incarnation=row.incarnation,
        )
        # Readers run in threads: all must use the one that came first.
        return self._matrices.setdefault(row.embedding_no, matrix)

    def catch_up(self, connection: Connection) -> None:
        """Bring the files of all collections up to date, so that other processes find them so."""
        for name in collection_rows.names(connection):
            self.of(collection_rows.find(connection, name)).catch_up(connection)


def search(connection: Connection, matrices: Matrices, query: ChunkQuery) -> Legs:
    row = collection_rows.find(connection, query.collection)
    shown = _Shown(connection, row.no, query.filters)
    text: list[_Found] = []
    vector: list[_Found] = []
    if query.tokens is not None and query.limit:
        text = shown.best(_by_text(connection, row, query.tokens), _TEXT, query.limit)
    if query.vector is not None and query.limit:
        candidates = _by_vector(connection, matrices.of(row), query.vector)
        vector = shown.best(candidates, _VECTOR, query.limit)
    legs = [[(each.chunk_no, each.score) for each in leg] for leg in (text, vector)]
    return Legs(*documents_read.hits(connection, legs))


def _by_text(connection: Connection, row: CollectionRow, tokens: Sequence[str]) -> Candidates:
    statistics = Statistics(chunks=row.chunks, tokens=row.tokens)
    return text_index.find(connection, row.no, statistics=statistics, tokens=tokens)


def _by_vector(connection: Connection, matrix: VectorMatrix, query: Vector) -> Candidates:
    view = matrix.catch_up(connection)
    return Candidates(view.numbers, view.scores(query))


class _Shown:
    """Which candidates may be shown: chunks of live versions, in the collection, that pass the filters."""

    def __init__(
        self, connection: Connection, collection_no: int, filters: Mapping[str, Sequence[str]]
    ) -> None:
        self._connection = connection
        self._filters = len(filters)
        self._parameters: dict[str, object] = {"collection_no": collection_no}
        for position, (key, values) in enumerate(filters.items()):
            self._parameters[f"key_{position}"] = storable(key)
            self._parameters[f"values_{position}"] = packed_texts(storable(value) for value in values)

    def best(self, candidates: Candidates, leg: _Leg, limit: int) -> list[_Found]:
        """The best ``limit`` of the candidates that may be shown, ties by chunk id."""
        for multiple in _LOOKS_FILTERED if self._filters else _LOOKS:
            count = int(multiple * limit)
            found = self._among(leg, candidates.best(count))
            if len(found) >= limit or count >= len(candidates):
                return sorted(found, key=_best_first)[:limit]
        # Few of the best may be shown: ask which may at all, and take the best of those.
        allowed = candidates.among(self._allowed(leg))
        return sorted(self._among(leg, allowed.best(limit)), key=_best_first)[:limit]

    def _among(self, leg: _Leg, candidates: Candidates) -> list[_Found]:
        scores = dict(zip(candidates.numbers.tolist(), candidates.scores.tolist(), strict=True))
        parameters = self._parameters | {"numbers": packed_numbers(candidates.numbers)}
        rows = _look(leg, self._filters).execute(self._connection, parameters)
        return [_Found(scores[candidate], chunk_id, chunk_no) for candidate, chunk_no, chunk_id in rows.all()]

    def _allowed(self, leg: _Leg) -> Numbers:
        rows = _listing(leg, self._filters).execute(self._connection, self._parameters)
        return np.array(rows.scalars().all(), np.int64)


@cache
def _look(leg: _Leg, filters: int) -> RawStatement:
    """Which of some candidates may be shown."""
    return RawStatement(
        leg.statement.where(
            leg.candidate.in_(numbers_in("numbers")),
            _also_in_collection,
            *(_matching(position).exists() for position in range(filters)),
        )
    )


@cache
def _listing(leg: _Leg, filters: int) -> RawStatement:
    """All candidates that may be shown."""
    return RawStatement(
        leg.statement.with_only_columns(leg.candidate).where(
            _also_in_collection if filters else _in_collection,
            *(_matching_documents(position) for position in range(filters)),
        )
    )


def _has_value(position: int) -> ColumnElement[bool]:
    return and_(
        attributes.c.key == bindparam(f"key_{position}"),
        attributes.c.value.in_(texts_in(f"values_{position}")),
    )


def _matching(position: int) -> Select[Any]:
    """For one document that is at hand."""
    return select(attributes.c.key).where(attributes.c.document_no == documents.c.no, _has_value(position))


def _matching_documents(position: int) -> ColumnElement[bool]:
    """For all documents at once."""
    return documents.c.no.in_(select(attributes.c.document_no).where(_has_value(position)))


def _best_first(found: _Found) -> tuple[float, bytes]:
    return -found.score, found.chunk_id
