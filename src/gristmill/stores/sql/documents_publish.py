"""What readers see: publishing versions, changing metadata, deleting. Each function is part of one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, union, update

from gristmill.domain.document import Wanted
from gristmill.ports.documents import Published, filter_pairs
from gristmill.stores.sql import collection_rows, text_index
from gristmill.stores.sql.collection_rows import Change
from gristmill.stores.sql.columns import instant, json_mapping, json_text, storable
from gristmill.stores.sql.raw import BulkStatement, RawStatement
from gristmill.stores.sql.tables_documents import attributes, chunks, document_versions, documents, vectors
from gristmill.stores.sql.text_index import Span
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

_AnyRow = Row[Any]

_CHOSEN = select(documents).where(documents.c.document_id.in_(ids_in("ids")))
_DOCUMENTS = RawStatement(_CHOSEN, on_postgres=_CHOSEN.order_by(documents.c.no).with_for_update())
_LIVE = RawStatement(
    select(documents.c.no, documents.c.document_id, documents.c.live_version, document_versions.c.metadata)
    .join(
        document_versions,
        and_(
            document_versions.c.document_no == documents.c.no,
            document_versions.c.version == documents.c.live_version,
        ),
    )
    .where(documents.c.document_id.in_(ids_in("ids")))
)
_VERSIONS = RawStatement(
    select(document_versions, documents.c.collection_no, documents.c.live_version, documents.c.wanted_version)
    .join(documents, documents.c.no == document_versions.c.document_no)
    .where(document_versions.c.document_no.in_(numbers_in("numbers")))
)
# Chunks that a split brought may come after what refers to them.
_INCOMPLETE = RawStatement(
    union(
        select(documents.c.no)
        .join(
            chunks,
            and_(chunks.c.document_no == documents.c.no, chunks.c.version == documents.c.wanted_version),
        )
        .outerjoin(vectors, vectors.c.vector_id == chunks.c.vector_id)
        .where(documents.c.no.in_(numbers_in("numbers")), vectors.c.no.is_(None)),
        select(documents.c.no)
        .outerjoin(
            document_versions,
            and_(
                document_versions.c.document_no == documents.c.no,
                document_versions.c.version == documents.c.wanted_version,
            ),
        )
        .where(documents.c.no.in_(numbers_in("numbers")), document_versions.c.version.is_(None)),
    )
)
_same_version = and_(
    document_versions.c.document_no == bindparam("of_document"),
    document_versions.c.version == bindparam("of_version"),
)
_KEY = ("of_document", "of_version")
_DELETE_VERSIONS = BulkStatement(delete(document_versions).where(_same_version), _KEY)
_DELETE_CHUNKS = BulkStatement(
    delete(chunks).where(chunks.c.no.between(bindparam("first"), bindparam("last"))), ("first", "last")
)
_SET_METADATA = BulkStatement(
    update(document_versions).where(_same_version).values(metadata=bindparam("new")), ("new", *_KEY)
)
_SET_RESTAGED = BulkStatement(
    update(document_versions)
    .where(_same_version)
    .values(title=bindparam("new_title"), metadata=bindparam("new_metadata"), restaged=bindparam("nothing")),
    ("new_title", "new_metadata", "nothing", *_KEY),
)
_SET_LIVE = BulkStatement(
    update(documents)
    .where(documents.c.no == bindparam("of_document"))
    .values(live_version=bindparam("version"), created_at=bindparam("created"), updated_at=bindparam("now")),
    ("version", "created", "now", "of_document"),
)
_TOUCH = RawStatement(
    update(documents).where(documents.c.no.in_(numbers_in("numbers"))).values(updated_at=bindparam("now"))
)
_ATTRIBUTES = RawStatement(select(attributes).where(attributes.c.document_no.in_(numbers_in("numbers"))))
_INSERT_ATTRIBUTES = BulkStatement(insert(attributes), ("document_no", "key", "value"))
_DELETE_ATTRIBUTES = BulkStatement(
    delete(attributes).where(
        attributes.c.document_no == bindparam("of_document"),
        attributes.c.key == bindparam("of_key"),
        attributes.c.value == bindparam("of_value"),
    ),
    ("of_document", "of_key", "of_value"),
)
_DELETE_DOCUMENTS = RawStatement(delete(documents).where(documents.c.no.in_(numbers_in("numbers"))))


def publish(connection: Connection, wanted: Mapping[UUID, Wanted], *, now: datetime) -> dict[UUID, Published]:
    found = by_id(connection, list(wanted))
    older = {row.no for document_id, row in found.items() if row.wanted_ordinal < wanted[document_id].ordinal}
    ours = {
        row.no: row
        for document_id, row in found.items()
        if row.wanted_version == wanted[document_id].version and row.no not in older
    }
    incomplete = _incomplete(connection, ours) | older
    ready = {number: row for number, row in ours.items() if number not in incomplete}
    _switch(connection, ready, now=now)

    def outcome(row: _AnyRow | None) -> Published:
        if row is not None and row.no in incomplete:
            return Published.INCOMPLETE
        return Published.SUPERSEDED if row is None or row.no not in ours else Published.LIVE

    return {document_id: outcome(found.get(document_id)) for document_id in wanted}


def update_metadata(
    connection: Connection, changes: Mapping[UUID, Mapping[str, object]], *, now: datetime
) -> int:
    taken = {row.no for row in by_id(connection, changes).values()}
    live = [row for row in _LIVE.execute(connection, {"ids": packed_ids(changes)}) if row.no in taken]
    metadata: dict[int, Mapping[str, object]] = {}
    rows = []
    for number, document_id, version, stored in live:
        new = dict(changes[UUID(bytes=document_id)])
        text = json_text(new)
        # Most metadata that is replaced is replaced by the same.
        if text != stored:
            metadata[number] = new
            rows.append((text, number, version))
    _SET_METADATA.execute(connection, rows)
    _TOUCH.execute(connection, {"numbers": packed_numbers(row[0] for row in live), "now": instant(now)})
    replace_attributes(connection, metadata)
    return len(live)


def delete_documents(connection: Connection, document_ids: Sequence[UUID]) -> int:
    found = {row.no: row for row in by_id(connection, document_ids).values()}
    versions = versions_of(connection, found)
    changes: defaultdict[int, Change] = defaultdict(Change)
    for version in versions:
        if version.version == version.live_version:
            count(changes[version.collection_no], version, documents=-1, sign=-1)
    drop(connection, versions)
    replace_attributes(connection, {number: {} for number in found})
    _DELETE_DOCUMENTS.execute(connection, {"numbers": packed_numbers(found)})
    collection_rows.add_up(connection, changes)
    return sum(row.live_version is not None for row in found.values())


def by_id(connection: Connection, document_ids: Iterable[UUID]) -> dict[UUID, _AnyRow]:
    """The documents, which nobody else stages, publishes or deletes until the transaction ends."""
    rows = _DOCUMENTS.execute(connection, {"ids": packed_ids(document_ids)})
    return {UUID(bytes=row.document_id): row for row in rows.all()}


def versions_of(connection: Connection, numbers: Iterable[int]) -> Sequence[_AnyRow]:
    return _VERSIONS.execute(connection, {"numbers": packed_numbers(numbers)}).all()


def _incomplete(connection: Connection, numbers: Iterable[int]) -> set[int]:
    waiting = _INCOMPLETE.execute(connection, {"numbers": packed_numbers(numbers)})
    return set(waiting.scalars())


def _switch(connection: Connection, ready: Mapping[int, _AnyRow], *, now: datetime) -> None:
    """Make the wanted versions live, and drop every other version of these documents."""
    versions = versions_of(connection, ready)
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
            count(changes[each.collection_no], each, documents=int(each.live_version is None), sign=1)
    for each in old:
        if each.version == each.live_version:
            count(changes[each.collection_no], each, documents=0, sign=-1)
    drop(connection, old)
    text_index.show(connection, [span_of(each) for each in shown if each.version != each.live_version])
    _show(connection, shown, ready, now=now)
    collection_rows.add_up(connection, changes)


def _show(
    connection: Connection, shown: Sequence[_AnyRow], ready: Mapping[int, _AnyRow], *, now: datetime
) -> None:
    restaged = {each.document_no: json_mapping(each.restaged) for each in shown if each.restaged}
    _SET_RESTAGED.execute(
        connection,
        [
            (new["title"], json_text(new["metadata"]), None, number, ready[number].wanted_version)
            for number, new in restaged.items()
        ],
    )
    rows = []
    metadata = {}
    for each in shown:
        number = each.document_no
        created = instant(now) if each.live_version is None else ready[number].created_at
        rows.append((each.version, created, instant(now), number))
        new = restaged.get(number)
        metadata[number] = json_mapping(each.metadata) if new is None else new["metadata"]
    _SET_LIVE.execute(connection, rows)
    replace_attributes(connection, metadata)


def drop(connection: Connection, versions: Sequence[_AnyRow]) -> None:
    ranges = [(each.first_chunk_no, each.first_chunk_no + each.chunks - 1) for each in versions]
    _DELETE_CHUNKS.execute(connection, ranges)
    _DELETE_VERSIONS.execute(connection, [(each.document_no, each.version) for each in versions])
    text_index.remove(connection, [span_of(each) for each in versions])


def replace_attributes(connection: Connection, metadata: Mapping[int, Mapping[str, object]]) -> None:
    """Write what differs."""
    if not metadata:
        return
    new = {
        (number, storable(key), storable(value))
        for number, each in metadata.items()
        for key, value in filter_pairs(each)
    }
    stored = _ATTRIBUTES.execute(connection, {"numbers": packed_numbers(metadata)})
    old = {tuple(row) for row in stored.all()}
    _DELETE_ATTRIBUTES.execute(connection, sorted(old - new))
    _INSERT_ATTRIBUTES.execute(connection, sorted(new - old))


def count(change: Change, version: _AnyRow, *, documents: int, sign: int) -> None:
    change.documents += documents
    change.chunks += sign * version.chunks
    change.tokens += sign * version.tokens


def span_of(version: _AnyRow) -> Span:
    return Span(version.collection_no, version.first_chunk_no, version.chunks)
