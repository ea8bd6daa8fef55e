"""What readers see: publishing versions, changing metadata, deleting. Each function is part of one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, update

from gristmill.domain.document import Wanted
from gristmill.ports.documents import Published, filter_pairs
from gristmill.stores.sql import collection_rows, text_index
from gristmill.stores.sql.collection_rows import Change
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.tables_documents import attributes, chunks, document_versions, documents, vectors
from gristmill.stores.sql.text_index import Span
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

_AnyRow = Row[Any]

_DOCUMENTS = select(documents).where(documents.c.document_id.in_(ids_in("ids")))
_VERSIONS = (
    select(document_versions, documents.c.collection_no, documents.c.live_version, documents.c.wanted_version)
    .join(documents, documents.c.no == document_versions.c.document_no)
    .where(document_versions.c.document_no.in_(numbers_in("numbers")))
)
_WAITING_FOR_VECTORS = (
    select(documents.c.no)
    .distinct()
    .join(
        chunks,
        and_(chunks.c.document_no == documents.c.no, chunks.c.version == documents.c.wanted_version),
    )
    .outerjoin(vectors, vectors.c.vector_id == chunks.c.vector_id)
    .where(documents.c.no.in_(numbers_in("numbers")), vectors.c.no.is_(None))
)
_same_version = and_(
    document_versions.c.document_no == bindparam("of_document"),
    document_versions.c.version == bindparam("of_version"),
)
_DELETE_VERSION = delete(document_versions).where(_same_version)
_DELETE_CHUNKS = delete(chunks).where(chunks.c.no.between(bindparam("first"), bindparam("last")))
_SET_METADATA = update(document_versions).where(_same_version).values(metadata=bindparam("new_metadata"))
_SET_RESTAGED = (
    update(document_versions)
    .where(_same_version)
    .values(title=bindparam("new_title"), metadata=bindparam("new_metadata"), restaged=None)
)
_SET_LIVE = (
    update(documents)
    .where(documents.c.no == bindparam("document_no"))
    .values(
        live_version=bindparam("version"),
        created_at=bindparam("created"),
        updated_at=bindparam("updated"),
    )
)
_TOUCH = (
    update(documents).where(documents.c.no.in_(numbers_in("numbers"))).values(updated_at=bindparam("now"))
)
_ATTRIBUTES = select(attributes).where(attributes.c.document_no.in_(numbers_in("numbers")))
_DELETE_ATTRIBUTE = delete(attributes).where(
    attributes.c.document_no == bindparam("of_document"),
    attributes.c.key == bindparam("of_key"),
    attributes.c.value == bindparam("of_value"),
)
_DELETE_DOCUMENTS = delete(documents).where(documents.c.no.in_(numbers_in("numbers")))


def publish(connection: Connection, wanted: Mapping[UUID, Wanted], *, now: datetime) -> dict[UUID, Published]:
    found = _by_id(connection, list(wanted))
    ours = {
        row.no: row for document_id, row in found.items() if row.wanted_version == wanted[document_id].version
    }
    incomplete = _waiting_for_vectors(connection, ours)
    ready = {number: row for number, row in ours.items() if number not in incomplete}
    _switch(connection, ready, now=now)

    def outcome(row: _AnyRow | None) -> Published:
        if row is None or row.no not in ours:
            return Published.SUPERSEDED
        return Published.INCOMPLETE if row.no in incomplete else Published.LIVE

    return {document_id: outcome(found.get(document_id)) for document_id in wanted}


def update_metadata(
    connection: Connection, changes: Mapping[UUID, Mapping[str, object]], *, now: datetime
) -> int:
    found = _by_id(connection, list(changes))
    live = {row.no: row for row in found.values() if row.live_version is not None}
    if not live:
        return 0
    new = {row.no: dict(changes[row.document_id]) for row in live.values()}
    rows = [
        {"of_document": number, "of_version": row.live_version, "new_metadata": new[number]}
        for number, row in live.items()
    ]
    connection.execute(_SET_METADATA, rows)
    connection.execute(_TOUCH, {"numbers": packed_numbers(live), "now": now})
    _replace_attributes(connection, new)
    return len(live)


def delete_documents(connection: Connection, document_ids: Sequence[UUID]) -> int:
    found = {row.no: row for row in _by_id(connection, document_ids).values()}
    versions = _versions(connection, found)
    changes: defaultdict[int, Change] = defaultdict(Change)
    for version in versions:
        if version.version == version.live_version:
            _count(changes[version.collection_no], version, documents=-1, sign=-1)
    _drop(connection, versions)
    _replace_attributes(connection, {number: {} for number in found})
    connection.execute(_DELETE_DOCUMENTS, {"numbers": packed_numbers(found)})
    collection_rows.add_up(connection, changes)
    return sum(row.live_version is not None for row in found.values())


def _by_id(connection: Connection, document_ids: Sequence[UUID]) -> dict[UUID, _AnyRow]:
    rows = connection.execute(_DOCUMENTS, {"ids": packed_ids(document_ids)})
    return {row.document_id: row for row in rows}


def _versions(connection: Connection, numbers: Iterable[int]) -> Sequence[_AnyRow]:
    return connection.execute(_VERSIONS, {"numbers": packed_numbers(numbers)}).all()


def _waiting_for_vectors(connection: Connection, numbers: Iterable[int]) -> set[int]:
    return set(connection.execute(_WAITING_FOR_VECTORS, {"numbers": packed_numbers(numbers)}).scalars())


def _switch(connection: Connection, ready: Mapping[int, _AnyRow], *, now: datetime) -> None:
    """Make the wanted versions live, and drop every other version of these documents."""
    versions = _versions(connection, ready)
    shown = [
        each
        for each in versions
        if each.version == each.wanted_version and (each.version != each.live_version or each.restaged)
    ]
    if not shown:
        return
    switching = {each.document_no for each in shown}
    old = [each for each in versions if each.version != each.wanted_version and each.document_no in switching]
    changes: defaultdict[int, Change] = defaultdict(Change)
    for each in shown:
        if each.version != each.live_version:
            _count(changes[each.collection_no], each, documents=int(each.live_version is None), sign=1)
    for each in old:
        if each.version == each.live_version:
            _count(changes[each.collection_no], each, documents=0, sign=-1)
    _drop(connection, old)
    text_index.show(connection, [_span(each) for each in shown if each.version != each.live_version])
    _show(connection, shown, ready, now=now)
    collection_rows.add_up(connection, changes)


def _show(
    connection: Connection, shown: Sequence[_AnyRow], ready: Mapping[int, _AnyRow], *, now: datetime
) -> None:
    restaged = [
        {
            "of_document": each.document_no,
            "of_version": each.version,
            "new_title": None if each.restaged["title"] is None else storable(each.restaged["title"]),
            "new_metadata": each.restaged["metadata"],
        }
        for each in shown
        if each.restaged
    ]
    if restaged:
        connection.execute(_SET_RESTAGED, restaged)
    rows = [
        {
            "document_no": each.document_no,
            "version": each.version,
            "created": now if each.live_version is None else ready[each.document_no].created_at,
            "updated": now,
        }
        for each in shown
    ]
    connection.execute(_SET_LIVE, rows)
    metadata = {
        each.document_no: each.restaged["metadata"] if each.restaged else each.metadata for each in shown
    }
    _replace_attributes(connection, metadata)


def _drop(connection: Connection, versions: Sequence[_AnyRow]) -> None:
    if not versions:
        return
    keys = [{"of_document": each.document_no, "of_version": each.version} for each in versions]
    ranges = [
        {"first": each.first_chunk_no, "last": each.first_chunk_no + each.chunks - 1} for each in versions
    ]
    connection.execute(_DELETE_CHUNKS, ranges)
    connection.execute(_DELETE_VERSION, keys)
    text_index.remove(connection, [_span(each) for each in versions])


def _replace_attributes(connection: Connection, metadata: Mapping[int, Mapping[str, object]]) -> None:
    """Write what differs: most metadata that is replaced is replaced by the same."""
    new = {
        (number, storable(key), storable(value))
        for number, each in metadata.items()
        for key, value in filter_pairs(each)
    }
    stored = connection.execute(_ATTRIBUTES, {"numbers": packed_numbers(metadata)})
    old = {(row.document_no, row.key, row.value) for row in stored}
    gone = [
        {"of_document": number, "of_key": key, "of_value": value} for number, key, value in sorted(old - new)
    ]
    added = [{"document_no": number, "key": key, "value": value} for number, key, value in sorted(new - old)]
    if gone:
        connection.execute(_DELETE_ATTRIBUTE, gone)
    if added:
        connection.execute(insert(attributes), added)


def _count(change: Change, version: _AnyRow, *, documents: int, sign: int) -> None:
    change.documents += documents
    change.chunks += sign * version.chunks
    change.tokens += sign * version.tokens


def _span(version: _AnyRow) -> Span:
    return Span(version.collection_no, version.first_chunk_no, version.chunks)
