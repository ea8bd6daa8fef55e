"""Versions with their chunks that come from another database."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast
from uuid import UUID

from sqlalchemy import Connection, select

from gristmill.domain.document_facts import DocumentFacts
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import ChunksRow, Kind, Row
from gristmill.stores.sql import bodies, collection_rows, documents_write, fact_rows
from gristmill.stores.sql.columns import moment, storable
from gristmill.stores.sql.fact_rows import Fact, StagedFact
from gristmill.stores.sql.tables_documents import documents
from gristmill.stores.sql.upserts import insert
from gristmill.stores.sql.value_lists import ids_in, packed_ids

_NUMBERS = select(documents.c.document_id, documents.c.no).where(documents.c.document_id.in_(ids_in("ids")))


def merge(connection: Connection, rows: Sequence[Row]) -> list[Merge]:
    """Versions with their chunks: what is here stays, and only its ordinal rises."""
    given = [cast("ChunksRow", row.body) for row in rows]
    places = [bodies.place_of(body) for body in given]
    found = fact_rows.find_all(connection, Kind.CHUNKS, places)
    staged = dict(found)
    documents_here = fact_rows.find_all(
        connection, Kind.DOCUMENT, {body.content.document_id.hex for body in given}
    )
    known = set(collection_rows.names(connection))
    merges: list[Merge] = []
    fresh: dict[str, ChunksRow] = {}
    changes: dict[str, tuple[str, Fact | None, Fact]] = {}
    for row, body, place in zip(rows, given, places, strict=True):
        document = documents_here.get(body.content.document_id.hex)
        if isinstance(document, DocumentFacts) and not document.needs(body.content.version, body.ordinal):
            merges.append(Merge(row, Fate.HELD, None))
            continue
        before = cast("StagedFact | None", staged.get(place))
        if before is None and body.content.collection not in known:
            merges.append(Merge(row, Fate.WITHHELD, None, "its collection is not here yet"))
            continue
        after = _later(before, StagedFact(body.ordinal, body.write_id))
        if before is None:
            fresh[place] = body
        if after != before:
            changes[place] = (place, found.get(place), after)
            staged[place] = after
        merges.append(Merge(row, Fate.HELD, after.token))
    _store_chunks(connection, list(fresh.values()))
    fact_rows.store_all(connection, Kind.CHUNKS, list(changes.values()))
    return merges


def _later(left: StagedFact | None, right: StagedFact) -> StagedFact:
    return right if left is None else max(left, right, key=lambda fact: (fact.ordinal, fact.write_id))


def _store_chunks(connection: Connection, fresh: Sequence[ChunksRow]) -> None:
    contents = [row.content for row in fresh]
    owners = {each.document_id: (each.collection, each.source) for each in contents}
    numbers = numbers_of(connection, owners)
    documents_write.store_new(
        connection, {(numbers[each.document_id], each.version): each for each in contents}
    )


def numbers_of(connection: Connection, owners: Mapping[UUID, tuple[str, str]]) -> dict[UUID, int]:
    """The numbers of documents; a row that shows and wants nothing is made for those that have none.

    ``owners``: the collection and the source of each.
    """
    numbers = known_numbers(connection, owners)
    missing = [document_id for document_id in owners if document_id not in numbers]
    if not missing:
        return numbers
    fresh = dict(zip(missing, collection_rows.draw(connection, "documents", len(missing)), strict=True))
    names = sorted({owners[document_id][0] for document_id in fresh})
    collections = {name: collection_rows.find(connection, name).no for name in names}
    rows = [
        {
            "no": number,
            "document_id": document_id,
            "collection_no": collections[owners[document_id][0]],
            "source": storable(owners[document_id][1]),
            "wanted_version": "",
            "wanted_ordinal": 0,
            "created_at": moment(0),
            "updated_at": moment(0),
        }
        for document_id, number in fresh.items()
    ]
    connection.execute(insert(documents), rows)
    return numbers | fresh


def known_numbers(connection: Connection, document_ids: Iterable[UUID]) -> dict[UUID, int]:
    """The numbers of those of the documents that have one."""
    found = connection.execute(_NUMBERS, {"ids": packed_ids(document_ids)})
    return {row.document_id: row.no for row in found}
