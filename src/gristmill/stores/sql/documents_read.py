"""Looking at live documents and chunks. Each function is part of one transaction."""

import sys
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, or_, select

from gristmill.domain.document import Document, Hit
from gristmill.ports.documents import DocumentPage
from gristmill.stores.sql import collection_rows
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.cursors import cursor, key_of
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
_FIND_DOCUMENTS = _DOCUMENTS.where(documents.c.document_id.in_(ids_in("ids")))
_HITS_OF_DOCUMENT = _HITS.where(documents.c.document_id == bindparam("document_id")).order_by(chunks.c.idx)
_HITS_BY_NUMBER = _HITS.where(chunks.c.no.in_(numbers_in("numbers")))
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


def find_documents(connection: Connection, document_ids: Sequence[UUID]) -> dict[UUID, Document]:
    rows = connection.execute(_FIND_DOCUMENTS, {"ids": packed_ids(document_ids)})
    return {row.document_id: Document(**row._mapping) for row in rows}  # noqa: SLF001 (SQLAlchemy's public name)


def list_chunks(connection: Connection, document_id: UUID) -> list[Hit]:
    rows = connection.execute(_HITS_OF_DOCUMENT, {"document_id": document_id})
    return [_hit(row) for row in rows]


def hits(connection: Connection, numbers: Collection[int]) -> dict[int, Hit]:
    """The live chunks among these numbers, score 0."""
    rows = connection.execute(_HITS_BY_NUMBER, {"numbers": packed_numbers(numbers)})
    return {row.no: _hit(row) for row in rows}


def count_stale(connection: Connection, pipeline: str) -> int:
    return int(connection.execute(_STALE, {"pipeline": pipeline}).scalar_one())


def list_documents(
    connection: Connection, collection: str | None, *, limit: int, after: str | None, under: str | None
) -> DocumentPage:
    start = None if after is None else key_of(_LISTING, after, str, str)
    found: list[Document] = []
    for name in _names(connection, collection):
        if start is not None and name < start[0]:
            continue
        behind = start[1] if start is not None and name == start[0] else None
        wanted = limit + 1 - len(found)
        found += _documents_in(connection, name, limit=wanted, behind=behind, under=under)
        if len(found) > limit:
            break
    shown = found[:limit]
    more = len(found) > len(shown) > 0
    return DocumentPage(shown, cursor(_LISTING, shown[-1].collection, shown[-1].source) if more else None)


def _names(connection: Connection, collection: str | None) -> Sequence[str]:
    if collection is None:
        return collection_rows.names(connection)
    return [collection_rows.find(connection, collection).collection.name]


def _documents_in(
    connection: Connection, collection: str, *, limit: int, behind: str | None, under: str | None
) -> list[Document]:
    row = collection_rows.find(connection, collection)
    statement = _DOCUMENTS.where(documents.c.collection_no == row.no)
    if behind is not None:
        statement = statement.where(documents.c.source > behind)
    if under:
        statement = statement.where(*_starting_with(storable(under)))
    in_order = statement.order_by(documents.c.source).limit(limit)
    return [Document(**found._mapping) for found in connection.execute(in_order)]  # noqa: SLF001 (SQLAlchemy's public name)


def _starting_with(prefix: str) -> list[ColumnElement[bool]]:
    """A range, which an index serves as LIKE cannot: from the prefix to the first text behind all that start with it."""
    conditions = [documents.c.source >= prefix]
    stem = prefix.rstrip(chr(sys.maxunicode))
    if stem:
        following = ord(stem[-1]) + 1
        following = 0xE000 if following == 0xD800 else following  # Surrogates are not text.
        conditions.append(documents.c.source < stem[:-1] + chr(following))
    return conditions


def _hit(row: Row[Any]) -> Hit:
    return Hit(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        version=row.version,
        source=row.source,
        title=row.title,
        heading=row.heading,
        text=row.text,
        start=row.start,
        end=row.end,
        page=row.page,
        metadata=row.metadata,
        score=0.0,
    )
