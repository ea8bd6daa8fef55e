"""What a transaction of this database makes of the facts of a row: they follow from the row before and after it.

Each change of a fact is above the fact before in its own order, so that no merge undoes it. Facts are as they were
where the row says nothing new, and None where they are not needed any more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Row, select

from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.domain.facts import BatchFacts, EndFact, Header, Held, Submitter
from gristmill.domain.moves import Write
from gristmill.domain.versions import Version
from gristmill.ports.batches import Worker
from gristmill.ports.rows import Kind, WorkerRow
from gristmill.stores.sql import batch_rows, collection_rows, fact_rows, mark_rows, outbox
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.fact_rows import Fact, StagedFact
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables import batches, events, workers
from gristmill.stores.sql.tables_documents import collections, document_versions, documents
from gristmill.stores.sql.value_lists import ids_in, numbers_in, packed_ids, packed_numbers

_BATCHES = select(batches).where(batches.c.batch_id.in_(ids_in("ids")))
_EVENTS = select(events).where(events.c.event_id.in_(ids_in("ids")))
_OF_DOCUMENTS = documents.c.document_id.in_(ids_in("ids"))
_STAGED = (
    select(
        documents.c.document_id,
        documents.c.wanted_version,
        documents.c.wanted_ordinal,
        document_versions.c.version,
    )
    .join(document_versions, document_versions.c.document_no == documents.c.no)
    .where(_OF_DOCUMENTS)
)
_DOCUMENTS = (
    select(documents, collections.c.name.label("collection"))
    .join(collections, collections.c.no == documents.c.collection_no)
    .where(_OF_DOCUMENTS)
)
_VERSIONS = select(document_versions).where(document_versions.c.document_no.in_(numbers_in("numbers")))


@dataclass(frozen=True, slots=True)
class Source:
    """Where write ids come from, and the stamps of edits and deletions, each above all that the row has seen."""

    write: DrawWrite
    stamp: Callable[[DocumentFacts, Write], int]


_NextFacts = Callable[[Connection, Sequence[str], Mapping[str, Fact], Source], dict[str, Fact | None]]


def _worker_facts(
    connection: Connection, places: Sequence[str], found: Mapping[str, Fact], source: Source
) -> dict[str, Fact | None]:
    rows = connection.execute(select(workers).where(workers.c.worker_id.in_(places)))
    here = {row.worker_id: Worker(**row._mapping) for row in rows}  # noqa: SLF001 (SQLAlchemy's public name for it)
    return {
        place: _worker(cast("WorkerRow | None", found.get(place)), here.get(place), source.write())
        for place in places
    }


def _worker(before: WorkerRow | None, worker: Worker | None, write: Write) -> WorkerRow | None:
    version = before.version if before else Version()
    version = version.written(stamp=write.stamp, write_id=write.write_id)
    if worker is None:
        return before if before is None or before.gone else replace(before, version=version, gone=True)
    if before is not None and not before.gone and before.worker == worker:
        return before
    return WorkerRow(worker, version)


def _batch_facts(
    connection: Connection, places: Sequence[str], found: Mapping[str, Fact], source: Source
) -> dict[str, Fact | None]:
    ids = packed_ids(UUID(place) for place in places)
    rows = {row.batch_id.hex: row for row in connection.execute(_BATCHES, {"ids": ids})}
    return {
        place: _batch(cast("BatchFacts | None", found.get(place)), rows.get(place), source.write())
        for place in places
    }


def _batch(before: BatchFacts | None, row: Row[Any] | None, write: Write) -> BatchFacts | None:
    if row is None:
        is_gone = before is None or before.deleted is not None
        return before if is_gone else before.tombstone(write_id=write.write_id, now=write.now)  # type: ignore[union-attr]
    if before is None or before.deleted is not None:
        after = _created(row, write, life=0 if before is None else before.life + 1)
    else:
        after = before
    return _decided(_described(after, row, write), row, write)


def _created(row: Row[Any], write: Write, *, life: int) -> BatchFacts:
    batch = batch_rows.batch_of(row)
    first = Version().written(stamp=write.stamp, write_id=write.write_id)
    header = Header(
        kind=batch.kind,
        name=batch.name,
        collection=batch.collection,
        priority=batch.priority,
        max_error_rate=batch.max_error_rate,
        options=batch.options,
        created_at=batch.created_at,
        write_id=write.write_id,
    )
    return BatchFacts(
        batch_id=batch.batch_id,
        header=header,
        submitter=Submitter(batch.submitter, first),
        held=Held(batch.hold, first),
        updated_at=batch.updated_at,
        life=life,
    )


def _described(facts: BatchFacts, row: Row[Any], write: Write) -> BatchFacts:
    submitter, held = facts.submitter, facts.held
    if row.submitter != submitter.name:
        version = submitter.version.written(stamp=write.stamp, write_id=write.write_id)
        submitter = Submitter(row.submitter, version)
    hold = batch_rows.hold_of(row)
    if hold != held.hold:
        held = Held(hold, held.version.written(stamp=write.stamp, write_id=write.write_id))
    updated_at = max(facts.updated_at, row.updated_at)
    return replace(
        facts,
        submitter=submitter,
        held=held,
        updated_at=updated_at,
        round=row.round,
        started_at=facts.started_at or row.started_at,
    )


def _decided(facts: BatchFacts, row: Row[Any], write: Write) -> BatchFacts:
    if row.sealed_at is not None:
        facts = facts.sealed_with(row.total_files, write_id=write.write_id, sealed_at=row.sealed_at)
    if not row.cancel_requested:
        return facts
    if facts.cancelled and facts.cancel is not None and facts.cancel.error_message == row.error_message:
        return facts
    cancelled = facts.cancelled_by(write, error_message=row.error_message, total=row.total_files)
    # It may have been long before anybody asked for facts.
    return replace(cancelled, updated_at=facts.updated_at)


def _end_facts(
    connection: Connection, places: Sequence[str], found: Mapping[str, Fact], source: Source
) -> dict[str, Fact | None]:
    rows = connection.execute(_EVENTS, {"ids": packed_ids(UUID(place) for place in places)}).all()
    of_batches = fact_rows.find_all(connection, Kind.BATCH, {row.batch_id.hex for row in rows})
    # Told, and its batch is gone; it goes too once the other database knows.
    marked = mark_rows.marked(connection, Kind.END, places)
    facts: dict[str, Fact | None] = {place: found.get(place) if place in marked else None for place in places}
    for row in rows:
        place = row.event_id.hex
        batch = cast("BatchFacts | None", of_batches.get(row.batch_id.hex))
        facts[place] = _end(cast("EndFact | None", found.get(place)), row, batch, source.write())
    return facts


def _end(before: EndFact | None, row: Row[Any], batch: BatchFacts | None, write: Write) -> EndFact:
    told = row.delivered_at is not None
    event = outbox.event_of(row)
    if before is not None and before.event == event:
        return replace(before, delivered=before.delivered or told)
    return EndFact(event, delivered=told, write_id=write.write_id, life=batch.life if batch else 0)


def _staged_facts(
    connection: Connection, places: Sequence[str], found: Mapping[str, Fact], source: Source
) -> dict[str, Fact | None]:
    rows = {
        f"{row.document_id.hex}:{row.version}": row
        for row in connection.execute(
            _STAGED, {"ids": packed_ids({UUID(place.split(":", 1)[0]) for place in places})}
        )
    }
    return {
        place: _staged_fact(cast("StagedFact | None", found.get(place)), rows.get(place), source.write())
        for place in places
    }


def _staged_fact(before: StagedFact | None, row: Any, write: Write) -> StagedFact | None:
    if row is None:
        return None
    # Of several staged in one transaction only the last is wanted.
    ordinal = row.wanted_ordinal if row.wanted_version == row.version else row.wanted_ordinal - 1
    if before is not None and before.ordinal >= ordinal:
        return before
    return StagedFact(ordinal, write.write_id)


def _document_facts(
    connection: Connection, places: Sequence[str], found: Mapping[str, Fact], source: Source
) -> dict[str, Fact | None]:
    ids = packed_ids(UUID(place) for place in places)
    rows = {row.document_id.hex: row for row in connection.execute(_DOCUMENTS, {"ids": ids})}
    numbers = packed_numbers(row.no for row in rows.values())
    versions = {
        (row.document_no, row.version): row for row in connection.execute(_VERSIONS, {"numbers": numbers})
    }
    facts: dict[str, Fact | None] = {}
    for place in places:
        before, row, write = cast("DocumentFacts | None", found.get(place)), rows.get(place), source.write()
        if row is not None:
            facts[place] = _document(before, row, versions, write, source)
        elif before is not None and (before.wanted or before.live):
            facts[place] = before.delete(stamp=source.stamp(before, write))
        else:
            facts[place] = before
    return facts


def _document(
    before: DocumentFacts | None,
    row: Row[Any],
    versions: Mapping[tuple[int, str], Row[Any]],
    write: Write,
    source: Source,
) -> DocumentFacts | None:
    """None while nothing but chunks of it came from another database."""
    wanted = versions.get((row.no, row.wanted_version))
    if before is None and wanted is None:
        return None
    facts = before or DocumentFacts(row.document_id, row.collection, row.source)
    if wanted is not None and (facts.wanted is None or row.wanted_ordinal > facts.wanted.ordinal):
        pointer = _pointer(wanted, row, write)
        facts = replace(facts, collection=row.collection, source=row.source, wanted=pointer)
    live = versions.get((row.no, row.live_version))
    if live is None or facts.wanted is None:
        return facts
    shown = facts.live
    if row.live_version == row.wanted_version and live.restaged is None:
        if shown is None or shown.ordinal != facts.wanted.ordinal:
            return facts.showing(_shown(facts.wanted, row, write))
    elif shown is None or shown.version != row.live_version:
        return facts.showing(_shown(_wanted_before(facts.wanted, live), row, write))
    if shown is not None and (shown.shown_at != row.updated_at or shown.metadata != live.metadata):
        edited = source.stamp(facts, write)
        return facts.edit(live.metadata, stamp=edited, write_id=write.write_id, now=row.updated_at)
    return facts


def _shown(pointer: Pointer, row: Row[Any], write: Write) -> Pointer:
    return replace(pointer, write_id=write.write_id, created_at=row.created_at, shown_at=row.updated_at)


def _wanted_before(wanted: Pointer, live: Row[Any]) -> Pointer:
    """Of a live version that was replaced as the wanted one before anybody looked: when it was staged is not kept."""
    return replace(
        wanted,
        ordinal=wanted.ordinal - 1,
        edited=wanted.ordinal - 1,
        version=live.version,
        content_hash=live.content_hash,
        pipeline=live.pipeline,
        title=live.title,
        metadata=live.metadata,
        chunks=live.chunks,
    )


def _pointer(version: Row[Any], row: Row[Any], write: Write) -> Pointer:
    told = version.restaged or {"title": version.title, "metadata": version.metadata}
    return Pointer(
        ordinal=row.wanted_ordinal,
        edited=row.wanted_ordinal,
        version=version.version,
        content_hash=version.content_hash,
        pipeline=version.pipeline,
        title=told["title"],
        metadata=told["metadata"],
        chunks=version.chunks,
        write_id=write.write_id,
    )


def drawing(connection: Connection, draw: DrawWrite) -> Source:
    """Of facts that are kept: their stamps are above all that this database knows of, stagings included."""

    def stamp(facts: DocumentFacts, write: Write) -> int:
        at_least = facts.next_stamp(instant(write.now))
        return collection_rows.draw(connection, "ordinals", 1, at_least=at_least).start

    return Source(draw, stamp)


def made_up(draw: DrawWrite) -> Source:
    """Of facts that are only shown."""
    return Source(draw, lambda facts, write: facts.next_stamp(instant(write.now)))


# In the order in which they build on each other. Given: places, and the facts that are there.
NEXT_FACTS: dict[Kind, _NextFacts] = {
    Kind.WORKER: _worker_facts,
    Kind.CHUNKS: _staged_facts,
    Kind.DOCUMENT: _document_facts,
    Kind.BATCH: _batch_facts,
    Kind.END: _end_facts,
}
