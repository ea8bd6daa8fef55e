"""Documents that come from another database: what they show follows from their facts and the versions here."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, bindparam, select, update

from gristmill.domain.conflicts import Conflict, conflicts
from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import Kind, Row, merged, row_of
from gristmill.stores.sql import (
    bodies,
    collection_rows,
    conflict_rows,
    documents_publish,
    fact_rows,
    locks,
    mark_rows,
    merging_versions,
    replica_row,
    text_index,
)
from gristmill.stores.sql.collection_rows import Change
from gristmill.stores.sql.columns import instant, json_text, storable
from gristmill.stores.sql.fact_rows import Fact, StagedFact
from gristmill.stores.sql.raw import BulkStatement, RawStatement
from gristmill.stores.sql.tables_documents import chunks, document_versions, documents, vectors
from gristmill.stores.sql.value_lists import numbers_in, packed_numbers

_AnyRow = Any
_SHOWN_NAMES = ("live_version", "wanted_version", "wanted_ordinal", "created_at", "updated_at")
_DOCUMENTS = RawStatement(
    select(documents.c.no, documents.c.collection_no, *(documents.c[name] for name in _SHOWN_NAMES)).where(
        documents.c.no.in_(numbers_in("numbers"))
    )
)
_SHOW = BulkStatement(
    update(documents)
    .where(documents.c.no == bindparam("of_document"))
    .values({name: bindparam(name) for name in _SHOWN_NAMES}),
    (*_SHOWN_NAMES, "of_document"),
)
_TOLD_NAMES = ("title", "metadata", "restaged")
_DESCRIBE = BulkStatement(
    update(document_versions)
    .where(
        document_versions.c.document_no == bindparam("of_document"),
        document_versions.c.version == bindparam("of_version"),
    )
    .values({name: bindparam(name) for name in _TOLD_NAMES}),
    (*_TOLD_NAMES, "of_document", "of_version"),
)
_WITHOUT_VECTORS = RawStatement(
    select(chunks.c.document_no, chunks.c.version)
    .distinct()
    .outerjoin(vectors, vectors.c.vector_id == chunks.c.vector_id)
    .where(chunks.c.document_no.in_(numbers_in("numbers")), vectors.c.no.is_(None))
)


def hold(connection: Connection, document_ids: Sequence[UUID]) -> None:
    """Nobody stages, publishes or deletes versions of these documents until the transaction ends."""
    if locks.needed(connection):
        # In the order in which staging takes them.
        collection_rows.draw(connection, "ordinals", 0)
        documents_publish.by_id(connection, document_ids)


def merge(connection: Connection, rows: Sequence[Row], *, now: datetime) -> list[Merge]:
    given = [cast("DocumentFacts", row.body) for row in rows]
    stored = fact_rows.find_all(connection, Kind.DOCUMENT, [facts.document_id.hex for facts in given])
    known = set(collection_rows.names(connection))
    complete = _complete(connection, given)
    there: dict[str, Fact] = dict(stored)
    owed = mark_rows.marked(connection, Kind.DOCUMENT, stored) if stored else set()
    merges: list[Merge] = []
    lost: list[Conflict] = []
    for row, facts in zip(rows, given, strict=True):
        place = facts.document_id.hex
        before = there.get(place)
        after = cast("DocumentFacts", merged(cast("DocumentFacts | None", before), facts))
        token = None if before is None else fact_rows.token_of(before)
        if after.collection not in known:
            merges.append(Merge(row, Fate.WITHHELD, token, "its collection is not here yet"))
        elif after.live is not None and _place(after, after.live) not in complete:
            # Searched here, it would show half a document (D1).
            merges.append(Merge(row, Fate.WITHHELD, token, "its chunks and vectors are not here yet"))
        else:
            there[place] = after
            if isinstance(before, DocumentFacts):
                lost += conflicts(before, facts, after, owed=place in owed, now=now)
            merges.append(Merge(row, Fate.HELD, row_of(after).token))
    conflict_rows.log(connection, lost)
    changed = {place: fact for place, fact in there.items() if fact != stored.get(place)}
    fact_rows.store_all(
        connection, Kind.DOCUMENT, [(place, stored.get(place), fact) for place, fact in changed.items()]
    )
    _store(connection, [fact for fact in changed.values() if isinstance(fact, DocumentFacts)])
    return merges


def owe_outlived(connection: Connection, rows: Sequence[Row], *, now: datetime) -> None:
    """The other database has dropped their chunks, and takes those that were staged after the deletion."""
    places = {row.body.document_id.hex for row in rows if isinstance(row.body, DocumentFacts)}
    found = fact_rows.find_all(connection, Kind.DOCUMENT, places).values() if places else ()
    outlived = {
        _place(facts, facts.outlived): facts
        for facts in found
        if isinstance(facts, DocumentFacts) and facts.outlived
    }
    staged = fact_rows.find_all(connection, Kind.CHUNKS, outlived) if outlived else {}
    changes: list[tuple[str, Fact | None, Fact]] = []
    for place, facts in outlived.items():
        before, live = staged.get(place), facts.outlived
        assert live is not None
        if not isinstance(before, StagedFact) or before.ordinal <= facts.deleted:
            changes.append((place, before, StagedFact(live.edited, live.write_id)))
    if changes:
        fact_rows.store_all(connection, Kind.CHUNKS, changes)
        sequence = replica_row.draw(connection)
        mark_rows.mark(
            connection, Kind.CHUNKS, sorted(place for place, _, _ in changes), sequence=sequence, now=now
        )


def _place(facts: DocumentFacts, pointer: Pointer) -> str:
    return bodies.version_place(facts.document_id, pointer.version)


def _complete(connection: Connection, given: Sequence[DocumentFacts]) -> set[str]:
    """Versions of the documents that are here with all their vectors."""
    found = bodies.versions_of_documents(connection, {facts.document_id for facts in given})
    numbers = packed_numbers({row.document_no for row in found.values()})
    waiting = {tuple(row) for row in _WITHOUT_VECTORS.execute(connection, {"numbers": numbers})}
    return {place for place, row in found.items() if (row.document_no, row.version) not in waiting}


def _store(connection: Connection, changed: Sequence[DocumentFacts]) -> None:
    if not changed:
        return
    # Stamps that are drawn here from now on are higher.
    highest = max(facts.seen for facts in changed)
    collection_rows.draw(connection, "ordinals", 0, at_least=highest + 1)
    kept = {facts.document_id for facts in changed if facts.wanted is not None or facts.live is not None}
    owners = {
        facts.document_id: (facts.collection, facts.source) for facts in changed if facts.document_id in kept
    }
    numbers = merging_versions.numbers_of(connection, owners)
    numbers |= merging_versions.known_numbers(
        connection, [facts.document_id for facts in changed if facts.document_id not in kept]
    )
    _show(connection, numbers, [facts for facts in changed if facts.document_id in numbers])
    kept |= _forget_versions(connection, changed)
    documents_publish.delete_documents(connection, sorted(numbers.keys() - kept))


def _show(connection: Connection, numbers: Mapping[UUID, int], shown: Sequence[DocumentFacts]) -> None:
    rows = _DOCUMENTS.execute(connection, {"numbers": packed_numbers(numbers.values())}).all()
    stored = {row.no: row for row in rows}
    values: list[tuple[Any, ...]] = []
    described: dict[tuple[int, str], tuple[Any, ...]] = {}
    metadata: dict[int, Mapping[str, object]] = {}
    switched: list[tuple[int, str | None, str | None]] = []
    for facts in shown:
        number = numbers[facts.document_id]
        row, live = stored[number], facts.live
        values.append((*_shown_values(row, facts), number))
        described |= {(number, version): told for version, told in _described(facts).items()}
        metadata[number] = {} if live is None else live.metadata
        switched.append((number, row.live_version, None if live is None else live.version))
    _DESCRIBE.execute(connection, [(*told, *key) for key, told in described.items()])
    _SHOW.execute(connection, values)
    documents_publish.replace_attributes(connection, metadata)
    collections = {row.collection_no for row in rows}
    _switch(connection, switched, collections)


def _shown_values(row: _AnyRow, facts: DocumentFacts) -> tuple[Any, ...]:
    """In the order of the names."""
    wanted, live = facts.wanted, facts.live
    created = live.created_at if live is not None else None
    shown = live.shown_at if live is not None else None
    return (
        None if live is None else live.version,
        "" if wanted is None else wanted.version,
        0 if wanted is None else wanted.ordinal,
        row.created_at if created is None else instant(created),
        row.updated_at if shown is None else instant(shown),
    )


def _described(facts: DocumentFacts) -> dict[str, tuple[Any, ...]]:
    """Title and metadata of the versions, and those that the live one gets when it is published again."""
    wanted, live = facts.wanted, facts.live
    told: dict[str, tuple[Any, ...]] = {}
    if wanted is not None:
        told[wanted.version] = (_title(wanted), json_text(dict(wanted.metadata)), None)
    if live is not None:
        again = None
        if wanted is not None and wanted.version == live.version and wanted.ordinal != live.ordinal:
            again = json_text({"title": _title(wanted), "metadata": dict(wanted.metadata)})
        told[live.version] = (_title(live), json_text(dict(live.metadata)), again)
    return told


def _title(pointer: Pointer) -> str | None:
    return None if pointer.title is None else storable(pointer.title)


def _switch(
    connection: Connection, switched: Sequence[tuple[int, str | None, str | None]], collections: set[int]
) -> None:
    """Show the chunks of one version of each document instead of those of another."""
    versions = documents_publish.versions_of(connection, [number for number, _, _ in switched])
    found = {(each.document_no, each.version): each for each in versions}
    changes: defaultdict[int, Change] = defaultdict(Change, {number: Change() for number in collections})
    hidden, shown = [], []
    for number, before, after in switched:
        if before == after:
            continue
        if before is not None:
            old = found[number, before]
            hidden.append(documents_publish.span_of(old))
            documents_publish.count(changes[old.collection_no], old, documents=-1, sign=-1)
        if after is not None:
            new = found[number, after]
            shown.append(documents_publish.span_of(new))
            documents_publish.count(changes[new.collection_no], new, documents=1, sign=1)
    text_index.hide(connection, hidden)
    text_index.show(connection, shown)
    collection_rows.add_up(connection, changes)


def _forget_versions(connection: Connection, changed: Sequence[DocumentFacts]) -> set[UUID]:
    """Drop the versions that the documents cannot need any more; returns the documents that keep others."""
    facts = {each.document_id: each for each in changed}
    versions = bodies.versions_of_documents(connection, facts)
    staged = fact_rows.find_all(connection, Kind.CHUNKS, versions)
    gone = []
    for place, row in versions.items():
        fact = staged.get(place)
        ordinal = fact.ordinal if isinstance(fact, StagedFact) else 0
        if not facts[row.document_id].needs(row.version, ordinal):
            gone.append(place)
    mark_rows.forget(connection, Kind.CHUNKS, gone)
    documents_publish.drop(connection, [versions[place] for place in gone])
    return {row.document_id for place, row in versions.items() if place not in set(gone)}
