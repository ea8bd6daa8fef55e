"""Which candidates of a search may be shown: chunks of live versions, in the collection, that pass the filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, select

from gristmill.stores.sql import collection_rows
from gristmill.stores.sql.candidates import Candidates, Numbers
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_documents import attributes, chunks, documents, vectors
from gristmill.stores.sql.value_lists import numbers_in, packed_numbers, packed_texts, texts_in

# How many candidates are looked at first, in multiples of the limit.
_FIRST_LOOK = 1.5
_FIRST_LOOK_FILTERED = 4

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
class Leg:
    """How a leg's candidates lead to chunks."""

    statement: Select[Any]
    candidate: ColumnElement[int]


TEXT = Leg(_OF_CHUNKS, chunks.c.no)
VECTOR = Leg(_OF_VECTORS, vectors.c.no)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk that may be shown."""

    score: float
    chunk_id: bytes
    chunk_no: int


class Listings:
    """All candidates of a collection that may be shown, kept from one search to the next while nothing is published."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Leg], tuple[int, Numbers]] = {}

    def of(self, connection: Connection, collection_no: int, leg: Leg) -> Numbers:
        revision = collection_rows.revision(connection, collection_no)
        kept = self._kept.get((collection_no, leg))
        if kept is not None and kept[0] == revision:
            return kept[1]
        numbers = _list(connection, leg, {"collection_no": collection_no}, filters=0)
        self._kept[collection_no, leg] = revision, numbers
        return numbers


class Shown:
    def __init__(
        self,
        connection: Connection,
        collection_no: int,
        filters: Mapping[str, Sequence[str]],
        *,
        listings: Listings,
    ) -> None:
        self._connection = connection
        self._collection_no = collection_no
        self._listings = listings
        self._filters = len(filters)
        self._parameters: dict[str, object] = {"collection_no": collection_no}
        for position, (key, values) in enumerate(filters.items()):
            self._parameters[f"key_{position}"] = storable(key)
            self._parameters[f"values_{position}"] = packed_texts(storable(value) for value in values)

    def best(self, candidates: Candidates, leg: Leg, limit: int) -> list[Found]:
        """The best ``limit`` of the candidates that may be shown, ties by chunk id."""
        count = int(limit * (_FIRST_LOOK_FILTERED if self._filters else _FIRST_LOOK))
        while True:
            found = self._among(leg, candidates.best(count))
            if len(found) >= limit or count >= len(candidates):
                return _first(found, limit)
            share = max(1, len(found)) / count
            needed = int(2 * limit / share)
            if needed > share * len(candidates):
                break
            count = needed
        # Listing all that may be shown is less work than looking at so many that may not.
        return self.among(candidates.among(self.allowed(leg)).best(limit), leg, limit)

    def among(self, candidates: Candidates, leg: Leg, limit: int) -> list[Found]:
        """Like ``best``, but looks at every candidate."""
        return _first(self._among(leg, candidates), limit)

    def _among(self, leg: Leg, candidates: Candidates) -> list[Found]:
        scores = dict(zip(candidates.numbers.tolist(), candidates.scores.tolist(), strict=True))
        parameters = self._parameters | {"numbers": packed_numbers(candidates.numbers)}
        rows = _look(leg, self._filters).execute(self._connection, parameters)
        return [Found(scores[candidate], chunk_id, chunk_no) for candidate, chunk_no, chunk_id in rows.all()]

    def allowed(self, leg: Leg) -> Numbers:
        """The numbers of all candidates that may be shown, ascending."""
        if not self._filters:
            return self._listings.of(self._connection, self._collection_no, leg)
        return _list(self._connection, leg, self._parameters, filters=self._filters)


def _list(connection: Connection, leg: Leg, parameters: Mapping[str, object], *, filters: int) -> Numbers:
    rows = _listing(leg, filters).execute(connection, parameters)
    return np.unique(np.array(rows.scalars().all(), np.int64))


@cache
def _look(leg: Leg, filters: int) -> RawStatement:
    """Which of some candidates may be shown."""
    return RawStatement(
        leg.statement.where(
            leg.candidate.in_(numbers_in("numbers")),
            _also_in_collection,
            *(_matching(position).exists() for position in range(filters)),
        )
    )


@cache
def _listing(leg: Leg, filters: int) -> RawStatement:
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


def _first(found: Sequence[Found], limit: int) -> list[Found]:
    return sorted(found, key=_best_first)[:limit]


def _best_first(found: Found) -> tuple[float, bytes]:
    return -found.score, found.chunk_id
