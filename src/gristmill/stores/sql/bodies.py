"""Rows of every kind, as they are sent to another database, and where each has its place here."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Row, Select, select

from gristmill.domain.document import Chunk, Collection, DocumentVersion, EmbeddingIdentity
from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.domain.record import Record
from gristmill.ports.rows import Body, ChunksRow, Kind, VectorRow, WorkerRow, row_of
from gristmill.stores.sql import collection_rows, fact_rows, record_store, text_index
from gristmill.stores.sql.fact_rows import Fact, StagedFact
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.rows import COLUMNS, record_of
from gristmill.stores.sql.tables import records
from gristmill.stores.sql.tables_documents import (
    chunks,
    collections,
    document_versions,
    documents,
    embeddings,
    vectors,
)
from gristmill.stores.sql.text_index import Span
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

CHUNKS_A_PAGE = 2_000
_IN_NUMBERS = numbers_in("numbers")
_RECORDS = RawStatement(select(*COLUMNS).where(records.c.no.in_(_IN_NUMBERS)))
_RECORD_TOKENS = RawStatement(select(records.c.no, records.c.write_id).where(records.c.no.in_(_IN_NUMBERS)))
_VECTORS = (
    select(
        vectors.c.no,
        vectors.c.vector_id,
        vectors.c.data,
        embeddings.c.provider,
        embeddings.c.model,
        embeddings.c.dimensions,
        embeddings.c.task,
        embeddings.c.normalised,
    )
    .join(embeddings, embeddings.c.no == vectors.c.embedding_no)
    .where(vectors.c.no.in_(_IN_NUMBERS))
)
_VECTOR_IDS = select(vectors.c.no, vectors.c.vector_id).where(vectors.c.no.in_(_IN_NUMBERS))
_VECTOR_NUMBERS = select(vectors.c.no, vectors.c.vector_id).where(vectors.c.vector_id.in_(ids_in("ids")))
_VERSIONS = (
    select(
        document_versions,
        documents.c.document_id,
        documents.c.source,
        documents.c.collection_no,
        collections.c.name.label("collection"),
    )
    .join(documents, documents.c.no == document_versions.c.document_no)
    .join(collections, collections.c.no == documents.c.collection_no)
    .where(documents.c.document_id.in_(ids_in("ids")))
)
_CHUNKS = (
    select(chunks)
    .where(chunks.c.document_no.in_(_IN_NUMBERS))
    .order_by(chunks.c.document_no, chunks.c.version, chunks.c.no)
)


def version_place(document_id: UUID, version: str) -> str:
    return f"{document_id.hex}:{version}"


def find(
    connection: Connection, kind: Kind, places: Sequence[str], facts: Mapping[str, Fact] | None = None
) -> dict[str, Body]:
    """Those of the rows that are there, as they are, by place; of a kind that has facts, with these or those kept."""
    if kind in _FINDERS:
        return _FINDERS[kind](connection, places)
    facts = fact_rows.find_all(connection, kind, places) if facts is None else facts
    if kind is Kind.CHUNKS:
        return _with_chunks(connection, facts)
    return {place: fact for place, fact in facts.items() if not isinstance(fact, StagedFact)}


def fitting(connection: Connection, kind: Kind, places: Sequence[str]) -> int:
    """How many of the first of these rows can be sent together: a version can have thousands of chunks."""
    if kind is not Kind.CHUNKS:
        return len(places)
    sizes = {_place_of_row(row): int(row.chunks) for row in versions_of(connection, places)}
    totals = list(accumulate(sizes.get(place, 0) for place in places))
    return max(min(len(places), 1), bisect_right(totals, CHUNKS_A_PAGE))


def tokens(connection: Connection, kind: Kind, places: Sequence[str]) -> dict[str, str]:
    """The tokens of those of the rows that are there, by place."""
    match kind:
        case Kind.RECORD:
            rows = _RECORD_TOKENS.execute(connection, {"numbers": _numbers(places)})
            return {str(no): write_id for no, write_id in rows}
        case Kind.VECTOR:
            numbered = connection.execute(_VECTOR_IDS, {"numbers": _numbers(places)})
            return {str(row.no): str(row.vector_id) for row in numbered}
        case Kind.COLLECTION:
            return {place: row_of(body).token for place, body in find(connection, kind, places).items()}
        case _:
            return fact_rows.tokens(connection, kind, places)


def places_of(connection: Connection, kind: Kind, bodies: Sequence[Body]) -> list[str | None]:
    """Where the rows of the same keys are here, in their order; None for those that are not."""
    match kind:
        case Kind.RECORD:
            return _places_of_records(connection, [body for body in bodies if isinstance(body, Record)])
        case Kind.VECTOR:
            ids = [body.vector_id for body in bodies if isinstance(body, VectorRow)]
            found = {row.vector_id: str(row.no) for row in _by_ids(connection, ids)}
            return [found.get(vector_id) for vector_id in ids]
        case _:
            return [place_of(body) for body in bodies]


def _by_ids(connection: Connection, ids: Iterable[UUID]) -> Sequence[Any]:
    return connection.execute(_VECTOR_NUMBERS, {"ids": packed_ids(ids)}).all()


def _places_of_records(connection: Connection, given: Sequence[Record]) -> list[str | None]:
    items: defaultdict[UUID, list[str]] = defaultdict(list)
    for record in given:
        items[record.batch_id].append(record.item_id)
    found = {
        (batch_id, item_id): str(no)
        for batch_id, item_ids in items.items()
        for no, item_id in record_store.numbers_of_items(connection, batch_id, item_ids)
    }
    return [found.get((record.batch_id, record.item_id)) for record in given]


def place_of(body: Body) -> str:
    """Of the kinds whose places are their keys."""
    match body:
        case WorkerRow():
            return body.worker.worker_id
        case Collection():
            return body.name
        case ChunksRow():
            return version_place(body.content.document_id, body.content.version)
        case DocumentFacts():
            return body.document_id.hex
        case BatchFacts():
            return body.batch_id.hex
        case EndFact():
            return body.event.event_id.hex
        case VectorRow() | Record():
            raise AssertionError("Its place is a number.")


def place_of_key(connection: Connection, kind: Kind, key: str) -> str | None:
    """Where the row of the key is (``Row.key``)."""
    match kind:
        case Kind.WORKER | Kind.COLLECTION:
            return key
        case Kind.VECTOR:
            return _number(connection, select(vectors.c.no).where(vectors.c.vector_id == UUID(key)))
        case Kind.RECORD:
            return _number(connection, select(records.c.no).where(records.c.record_id == UUID(key)))
        case Kind.CHUNKS:
            document_id, version = key.split(":", 1)
            return version_place(UUID(document_id), version)
        case Kind.DOCUMENT | Kind.BATCH | Kind.END:
            return UUID(key).hex


def _number(connection: Connection, query: Select[tuple[int]]) -> str | None:
    found = connection.scalar(query)
    return None if found is None else str(found)


# -- finding -----------------------------------------------------------------------------------------


def _find_records(connection: Connection, places: Sequence[str]) -> dict[str, Body]:
    rows = _RECORDS.execute(connection, {"numbers": _numbers(places)})
    return {str(row[0]): record_of(row) for row in rows}


def _find_collections(connection: Connection, places: Sequence[str]) -> dict[str, Body]:
    wanted = set(places)
    every = (row.collection for row in collection_rows.every(connection))
    return {each.name: each for each in every if each.name in wanted}


def _find_vectors(connection: Connection, places: Sequence[str]) -> dict[str, Body]:
    found: dict[str, Body] = {}
    for row in connection.execute(_VECTORS, {"numbers": _numbers(places)}):
        embedding = EmbeddingIdentity(row.provider, row.model, row.dimensions, row.task, row.normalised)
        found[str(row.no)] = VectorRow(row.vector_id, embedding, np.frombuffer(row.data, np.float32))
    return found


def _with_chunks(connection: Connection, staged: Mapping[str, Fact]) -> dict[str, Body]:
    rows = versions_of(connection, list(staged))
    spans = [Span(row.collection_no, row.first_chunk_no, row.chunks) for row in rows]
    tokens = text_index.tokens_of(connection, spans)
    contents: defaultdict[tuple[int, str], list[Chunk]] = defaultdict(list)
    for each in connection.execute(_CHUNKS, {"numbers": packed_numbers({row.document_no for row in rows})}):
        contents[each.document_no, each.version].append(_chunk(each, tokens.get(each.no, ())))
    found: dict[str, Body] = {}
    for row in rows:
        content = _content(row, contents[row.document_no, row.version])
        place = _place_of_row(row)
        fact = staged[place]
        assert isinstance(fact, StagedFact)
        found[place] = ChunksRow(content, fact.ordinal, fact.write_id)
    return found


def versions_of(connection: Connection, places: Sequence[str]) -> list[Row[Any]]:
    """The rows of those of the versions that are here."""
    found = versions_of_documents(connection, {UUID(place.split(":", 1)[0]) for place in places})
    return [found[place] for place in places if place in found]


def versions_of_documents(connection: Connection, document_ids: Iterable[UUID]) -> dict[str, Row[Any]]:
    """The rows of all versions of the documents, by place."""
    rows = connection.execute(_VERSIONS, {"ids": packed_ids(document_ids)}).all()
    return {_place_of_row(row): row for row in rows}


def _place_of_row(row: Row[Any]) -> str:
    return version_place(row.document_id, row.version)


def _content(row: Row[Any], found: Sequence[Chunk]) -> DocumentVersion:
    return DocumentVersion(
        document_id=row.document_id,
        collection=row.collection,
        source=row.source,
        version=row.version,
        content_hash=row.content_hash,
        pipeline=row.pipeline,
        title=row.title,
        metadata=row.metadata,
        chunks=tuple(found),
    )


def _chunk(row: Row[Any], tokens: Sequence[str]) -> Chunk:
    return Chunk(
        chunk_id=row.chunk_id,
        index=row.idx,
        text=row.text,
        start=row.start,
        end=row.end,
        heading=row.heading,
        page=row.page,
        vector_id=row.vector_id,
        tokens=tuple(tokens),
    )


def _numbers(places: Iterable[str]) -> str:
    return packed_numbers(map(int, places))


_FINDERS: Mapping[Kind, Callable[[Connection, Sequence[str]], dict[str, Body]]] = {
    Kind.COLLECTION: _find_collections,
    Kind.VECTOR: _find_vectors,
    Kind.RECORD: _find_records,
}
