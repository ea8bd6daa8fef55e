"""Looking at live documents and chunks. Each function is part of one transaction."""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select

from gristmill.domain.document import Document, Hit
from gristmill.ports.documents import DocumentPage
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.sql import collection_rows
from gristmill.stores.sql.collection_rows import CollectionRow
from gristmill.stores.sql.columns import json_mapping, moment, storable
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_documents import chunks, collections, document_versions, documents
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

_live_version = and_(
    document_versions.c.document_no == documents.c.no,
    document_versions.c.version == documents.c.live_version,
)
_DOCUMENTS = (
    select(
        documents.c.document_id,
        collections.c.name.label("collection"),
        documents.c.source,
        document_versions.c.version,
        document_versions.c.content_hash,
        document_versions.c.pipeline,
        document_versions.c.title,
        document_versions.c.metadata,
        document_versions.c.chunks,
        documents.c.created_at,
        documents.c.updated_at,
    )
    .join(document_versions, _live_version)
    .join(collections, collections.c.no == documents.c.collection_no)
)
_HITS = (
    select(
        chunks.c.no,
        chunks.c.chunk_id,
        documents.c.document_id,
        chunks.c.version,
        documents.c.source,
        document_versions.c.title,
        chunks.c.heading,
        chunks.c.text,
        chunks.c.start,
        chunks.c.end,
        chunks.c.page,
        document_versions.c.metadata,
    )
    .select_from(chunks)
    .join(documents, documents.c.no == chunks.c.document_no)
    .join(document_versions, _live_version)
    .where(chunks.c.version == documents.c.live_version)
)
_FIND_DOCUMENTS = RawStatement(_DOCUMENTS.where(documents.c.document_id.in_(ids_in("ids"))))
_HITS_OF_DOCUMENT = RawStatement(
    _HITS.where(documents.c.document_id == bindparam("document_id")).order_by(chunks.c.idx)
)
_HITS_BY_NUMBER = RawStatement(_HITS.where(chunks.c.no.in_(numbers_in("numbers"))))
# Two ranges, because an index serves no inequality: what is not stale is not looked at.
_STALE = (
    select(func.count())
    .select_from(document_versions)
    .join(documents, _live_version)
    .where(
        or_(
            document_versions.c.pipeline < bindparam("pipeline"),
            document_versions.c.pipeline > bindparam("pipeline"),
        )
    )
)

_LISTING = "documents"
_BOUNDS = {
    "behind": documents.c.source > bindparam("behind"),
    "first": documents.c.source >= bindparam("first"),
    "end": documents.c.source < bindparam("end"),
}


def find_documents(connection: Connection, document_ids: Sequence[UUID]) -> dict[UUID, Document]:
    rows = _FIND_DOCUMENTS.execute(connection, {"ids": packed_ids(document_ids)})
    found = [_document(row) for row in rows.all()]
    return {document.document_id: document for document in found}


def list_chunks(connection: Connection, document_id: UUID) -> list[Hit]:
    rows = _HITS_OF_DOCUMENT.execute(connection, {"document_id": document_id.bytes})
    return [_hit(row, 0.0) for row in rows.all()]


def hits(connection: Connection, legs: Sequence[Sequence[tuple[int, float]]]) -> list[list[Hit]]:
    """For each leg, given as numbers and scores of live chunks, its hits in the same order."""
    numbers = {number for leg in legs for number, _ in leg}
    found = _HITS_BY_NUMBER.execute(connection, {"numbers": packed_numbers(numbers)})
    rows = {row[0]: row for row in found.all()}
    return [[_hit(rows[number], score) for number, score in leg] for leg in legs]


def count_stale(connection: Connection, pipeline: str) -> int:
    return int(connection.execute(_STALE, {"pipeline": pipeline}).scalar_one())


def list_documents(
    connection: Connection, collection: str | None, *, limit: int, after: str | None, under: str | None
) -> DocumentPage:
    start = None if after is None else key_of(_LISTING, after, str, str)
    found: list[Document] = []
    for row in _collections(connection, collection):
        if start is not None and row.collection.name < start[0]:
            continue
        bounds = _starting_with(storable(under)) if under else {}
        if start is not None and row.collection.name == start[0]:
            bounds["behind"] = start[1]
        found += _documents_in(connection, row.no, bounds=bounds, limit=limit + 1 - len(found))
        if len(found) > limit:
            break
    shown = found[:limit]
    more = len(found) > len(shown) > 0
    return DocumentPage(shown, cursor(_LISTING, shown[-1].collection, shown[-1].source) if more else None)


def _collections(connection: Connection, name: str | None) -> list[CollectionRow]:
    return collection_rows.every(connection) if name is None else [collection_rows.find(connection, name)]


def _documents_in(
    connection: Connection, collection_no: int, *, bounds: Mapping[str, str], limit: int
) -> list[Document]:
    parameters = {"collection_no": collection_no, "most": limit, **bounds}
    rows = _listing(frozenset(bounds)).execute(connection, parameters)
    return [_document(row) for row in rows.all()]


@cache
def _listing(bounds: frozenset[str]) -> RawStatement:
    within = [_BOUNDS[name] for name in sorted(bounds)]
    of_collection = documents.c.collection_no == bindparam("collection_no")
    in_order = _DOCUMENTS.where(of_collection, *within).order_by(documents.c.source)
    return RawStatement(in_order.limit(bindparam("most")))


def _starting_with(prefix: str) -> dict[str, str]:
    """A range, which an index serves as LIKE cannot: from the prefix to the first text behind all that start with it."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return {"first": prefix}
    following = ord(stem[-1]) + 1
    following = 0xE000 if following == 0xD800 else following  # Surrogates are not text.
    return {"first": prefix, "end": stem[:-1] + chr(following)}


def _document(row: Row[*tuple[Any, ...]]) -> Document:
    """From a row of ``_DOCUMENTS``, in the order of its columns."""
    (
        document_id,
        collection,
        source,
        version,
        content_hash,
        pipeline,
        title,
        metadata,
        count,
        created,
        updated,
    ) = row
    return Document(
        document_id=UUID(bytes=document_id),
        collection=collection,
        source=source,
        version=version,
        content_hash=content_hash,
        pipeline=pipeline,
        title=title,
        metadata=json_mapping(metadata),
        chunks=count,
        created_at=moment(created),
        updated_at=moment(updated),
    )


def _hit(row: Row[*tuple[Any, ...]], score: float) -> Hit:
    """From a row of ``_HITS``, in the order of its columns."""
    _, chunk_id, document_id, version, source, title, heading, text, start, end, page, metadata = row
    return Hit(
        chunk_id=UUID(bytes=chunk_id),
        document_id=UUID(bytes=document_id),
        version=version,
        source=source,
        title=title,
        heading=heading,
        text=text,
        start=start,
        end=end,
        page=page,
        metadata=json_mapping(metadata),
        score=score,
    )
