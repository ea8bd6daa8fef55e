"""Committing versions, chunks and vectors that no reader sees yet. Each function is part of one transaction."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, bindparam, select, update

from gristmill.domain.document import Chunk, DocumentVersion, EmbeddingIdentity, Wanted
from gristmill.ports.documents import Vector
from gristmill.stores.sql import collection_rows, text_index
from gristmill.stores.sql.columns import instant, storable
from gristmill.stores.sql.raw import BulkInsert
from gristmill.stores.sql.tables_documents import chunks, document_versions, documents, vectors
from gristmill.stores.sql.text_index import Span
from gristmill.stores.sql.upserts import insert
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

# Until the transaction ends nobody else stages, publishes or deletes versions of these; SQLite needs no lock for it.
_DOCUMENT_NUMBERS = (
    select(documents.c.document_id, documents.c.no)
    .where(documents.c.document_id.in_(ids_in("ids")))
    .order_by(documents.c.no)
    .with_for_update()
)
_VERSIONS_OF = select(document_versions.c.document_no, document_versions.c.version).where(
    document_versions.c.document_no.in_(numbers_in("numbers"))
)
_WANT = (
    update(documents)
    .where(documents.c.no == bindparam("document_no"))
    .values(wanted_version=bindparam("version"), wanted_ordinal=bindparam("ordinal"))
)
_RESTAGE = (
    update(document_versions)
    .where(
        document_versions.c.document_no == bindparam("of_document"),
        document_versions.c.version == bindparam("of_version"),
    )
    .values(restaged=bindparam("again"))
)
_STORED_VECTORS = select(vectors.c.vector_id).where(vectors.c.vector_id.in_(ids_in("ids")))


_INSERT_CHUNKS = BulkInsert(chunks, [column.name for column in chunks.columns])
_INSERT_VECTORS = BulkInsert(vectors, [column.name for column in vectors.columns])


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A version that is not stored yet, and the numbers it gets."""

    version: DocumentVersion
    collection_no: int
    document_no: int
    first_chunk_no: int

    @property
    def span(self) -> Span:
        return Span(self.collection_no, self.first_chunk_no, len(self.version.chunks))

    def numbered_chunks(self) -> list[tuple[int, Chunk]]:
        return list(enumerate(self.version.chunks, start=self.first_chunk_no))


def stage_versions(
    connection: Connection, versions: Sequence[DocumentVersion], *, now: datetime
) -> list[Wanted]:
    names = {version.collection for version in versions}
    collections = {name: collection_rows.find(connection, name).no for name in sorted(names)}
    ordinals = collection_rows.draw(connection, "ordinals", len(versions), at_least=instant(now))
    wanted = [
        Wanted(version=each.version, ordinal=ordinal)
        for each, ordinal in zip(versions, ordinals, strict=True)
    ]
    numbers = _want(connection, versions, wanted, collections=collections, now=now)
    _store(connection, versions, collections=collections, numbers=numbers)
    return wanted


def missing_vectors(connection: Connection, vector_ids: Sequence[UUID]) -> set[UUID]:
    return set(vector_ids) - _stored_vectors(connection, vector_ids)


def put_vectors(connection: Connection, embedding: EmbeddingIdentity, given: Mapping[UUID, Vector]) -> int:
    # Nobody else stores vectors from here on: one that is not there now cannot come from another process.
    collection_rows.draw(connection, "vectors", 0)
    stored = _stored_vectors(connection, list(given))
    fresh = [vector_id for vector_id in given if vector_id not in stored]
    if not fresh:
        return 0
    embedding_no = collection_rows.embedding_number(connection, embedding)
    numbers = collection_rows.draw(connection, "vectors", len(fresh))
    rows = [
        (
            number,
            vector_id.bytes,
            embedding_no,
            np.ascontiguousarray(given[vector_id], np.float32).tobytes(),
        )
        for number, vector_id in zip(numbers, fresh, strict=True)
    ]
    return _INSERT_VECTORS.execute(connection, rows)


def check_dimensions(embedding: EmbeddingIdentity, given: Mapping[UUID, Vector]) -> None:
    """Raises ValueError at the first vector that is not one row of the identity's dimensions."""
    for vector_id, vector in given.items():
        if vector.shape != (embedding.dimensions,):
            raise ValueError(
                f"Vector {vector_id} has the shape {vector.shape}, but {embedding.key} makes vectors of "
                f"{embedding.dimensions} dimensions. Embed its text again with that model."
            )


def _stored_vectors(connection: Connection, vector_ids: Sequence[UUID]) -> set[UUID]:
    return set(connection.execute(_STORED_VECTORS, {"ids": packed_ids(vector_ids)}).scalars())


def _want(
    connection: Connection,
    versions: Sequence[DocumentVersion],
    wanted: Sequence[Wanted],
    *,
    collections: Mapping[str, int],
    now: datetime,
) -> Mapping[UUID, int]:
    """Make each version the wanted one of its document; returns the documents' numbers."""
    latest = {version.document_id: (version, ours) for version, ours in zip(versions, wanted, strict=True)}
    found = connection.execute(_DOCUMENT_NUMBERS, {"ids": packed_ids(latest)})
    known = {row.document_id: row.no for row in found}
    new = [document_id for document_id in latest if document_id not in known]
    numbers = dict(zip(new, collection_rows.draw(connection, "documents", len(new)), strict=True))
    rows = [
        {
            "no": number,
            "document_id": document_id,
            "collection_no": collections[latest[document_id][0].collection],
            "source": storable(latest[document_id][0].source),
            "wanted_version": latest[document_id][1].version,
            "wanted_ordinal": latest[document_id][1].ordinal,
            "created_at": now,
            "updated_at": now,
        }
        for document_id, number in numbers.items()
    ]
    changes = [
        {
            "document_no": number,
            "version": latest[document_id][1].version,
            "ordinal": latest[document_id][1].ordinal,
        }
        for document_id, number in known.items()
    ]
    _execute_many(connection, insert(documents), rows)
    _execute_many(connection, _WANT, changes)
    return known | numbers


def _store(
    connection: Connection,
    versions: Sequence[DocumentVersion],
    *,
    collections: Mapping[str, int],
    numbers: Mapping[UUID, int],
) -> None:
    """Insert versions that are not there; of the others keep only title and metadata, for when they are published."""
    found = connection.execute(_VERSIONS_OF, {"numbers": packed_numbers(numbers.values())})
    stored = {(document_no, version) for document_no, version in found}
    fresh: dict[tuple[int, str], DocumentVersion] = {}
    again: list[dict[str, Any]] = []
    for version in versions:
        key = numbers[version.document_id], version.version
        if key in stored or key in fresh:
            title = None if version.title is None else storable(version.title)
            new = {"title": title, "metadata": dict(version.metadata)}
            again.append({"of_document": key[0], "of_version": key[1], "again": new})
        else:
            fresh[key] = version
    _insert(connection, _numbered(connection, fresh, collections))
    _execute_many(connection, _RESTAGE, again)


def store_new(connection: Connection, given: Mapping[tuple[int, str], DocumentVersion]) -> None:
    """Insert those of the versions, by the number of their document and their name, that are not there."""
    found = connection.execute(_VERSIONS_OF, {"numbers": packed_numbers({no for no, _ in given})})
    stored = {(document_no, version) for document_no, version in found}
    fresh = {key: version for key, version in given.items() if key not in stored}
    names = {version.collection for version in fresh.values()}
    collections = {name: collection_rows.find(connection, name).no for name in sorted(names)}
    _insert(connection, _numbered(connection, fresh, collections))


def _numbered(
    connection: Connection,
    fresh: Mapping[tuple[int, str], DocumentVersion],
    collections: Mapping[str, int],
) -> list[_Fresh]:
    total = sum(len(version.chunks) for version in fresh.values())
    first = collection_rows.draw(connection, "chunks", total).start
    numbered = []
    for (document_no, _), version in fresh.items():
        numbered.append(_Fresh(version, collections[version.collection], document_no, first))
        first += len(version.chunks)
    return numbered


def _insert(connection: Connection, fresh: Sequence[_Fresh]) -> None:
    _execute_many(connection, insert(document_versions), [_version_row(each) for each in fresh])
    rows = [_chunk_row(each, number, chunk) for each in fresh for number, chunk in each.numbered_chunks()]
    _INSERT_CHUNKS.execute(connection, rows)
    by_collection: defaultdict[int, list[_Fresh]] = defaultdict(list)
    for each in fresh:
        by_collection[each.collection_no].append(each)
    for collection_no, group in by_collection.items():
        tokens = [(number, chunk.tokens) for each in group for number, chunk in each.numbered_chunks()]
        text_index.add_segment(connection, collection_no, tokens, [each.span for each in group])


def _version_row(fresh: _Fresh) -> dict[str, Any]:
    version = fresh.version
    return {
        "document_no": fresh.document_no,
        "version": version.version,
        "content_hash": version.content_hash,
        "pipeline": version.pipeline,
        "title": None if version.title is None else storable(version.title),
        "metadata": dict(version.metadata),
        "chunks": len(version.chunks),
        "tokens": sum(len(chunk.tokens) for chunk in version.chunks),
        "first_chunk_no": fresh.first_chunk_no,
    }


def _chunk_row(fresh: _Fresh, number: int, chunk: Chunk) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        number,
        chunk.chunk_id.bytes,
        fresh.document_no,
        fresh.version.version,
        chunk.index,
        chunk.vector_id.bytes,
        chunk.start,
        chunk.end,
        chunk.page,
        storable(chunk.heading),
        storable(chunk.text),
    )


def _execute_many(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)
