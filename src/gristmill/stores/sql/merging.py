"""Rows that come from another database, merged into those that are here. Each function is part of one transaction."""

from collections import defaultdict
from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import cast
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, update

from gristmill.domain.document import Collection, EmbeddingIdentity
from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.domain.record import Record
from gristmill.domain.versions import newer
from gristmill.ports.documents import Vector
from gristmill.ports.errors import GristmillError
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import Body, ChunksRow, Kind, Row, VectorRow, WorkerRow, merged, row_of
from gristmill.stores.sql import (
    bodies,
    changes,
    collection_rows,
    documents_write,
    fact_rows,
    journal,
    leases,
    locks,
    merging_batches,
    merging_documents,
    merging_versions,
    outbox,
)
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables_documents import collections


def merge(connection: Connection, rows: Sequence[Row], *, now: datetime) -> list[Merge]:
    """In the order of the rows; those of one kind that stand together are merged together."""
    merges: list[Merge] = []
    for kind, run in groupby(rows, key=attrgetter("kind")):
        merge_run = partial(merging_documents.merge, now=now) if kind is Kind.DOCUMENT else _MERGERS.get(kind)
        merges += (merge_run or _merge_one_by_one)(connection, list(run))
    merging_documents.owe_outlived(connection, rows, now=now)
    return merges


def hold(connection: Connection, rows: Sequence[Row]) -> None:
    """Keep other transactions from changing what is here of the rows, in the order in which they take it."""
    if not locks.needed(connection):
        return
    locks.one_by_one(connection, "merging")
    workers = {row.body.worker.worker_id for row in rows if isinstance(row.body, WorkerRow)}
    leases.hold(connection, workers)
    staged = {row.body.content.document_id for row in rows if isinstance(row.body, ChunksRow)}
    told = {row.body.document_id for row in rows if isinstance(row.body, DocumentFacts)}
    if staged or told:
        merging_documents.hold(connection, sorted(staged | told))
    batch_ids = {row.body.batch_id for row in rows if isinstance(row.body, Record | BatchFacts)}
    ends = [row.body.event for row in rows if isinstance(row.body, EndFact)]
    locks.take(connection, batch_ids | {event.batch_id for event in ends})
    outbox.hold(connection, [event.event_id for event in ends])


def refresh(connection: Connection, rows: Sequence[Row], draw: DrawWrite) -> None:
    """Bring the facts that the rows meet in line with what is here, where nobody notes what changes."""
    places: defaultdict[Kind, set[str]] = defaultdict(set)
    for row in rows:
        match row.body:
            case Record(batch_id=batch_id, worker=worker):
                places[Kind.BATCH].add(batch_id.hex)
                places[Kind.WORKER] |= set() if worker is None else {worker}
            case ChunksRow(content=content):
                places[Kind.CHUNKS].add(bodies.place_of(row.body))
                places[Kind.DOCUMENT].add(content.document_id.hex)
            case EndFact(event=event):
                places[Kind.BATCH].add(event.batch_id.hex)
                places[Kind.END].add(event.event_id.hex)
            case WorkerRow() | DocumentFacts() | BatchFacts():
                places[row.kind].add(bodies.place_of(row.body))
    for kind in sorted(places):
        journal.refresh(connection, kind, sorted(places[kind]), draw)


def _merge_records(connection: Connection, rows: Sequence[Row]) -> list[Merge]:
    given = [cast("Record", row.body) for row in rows]
    found = fact_rows.find_all(connection, Kind.BATCH, {record.batch_id.hex for record in given})
    facts = {each.batch_id: each for each in found.values() if isinstance(each, BatchFacts)}
    here = {batch_id for batch_id, each in facts.items() if each.deleted is None}
    changed = changes.find(connection, given, here)
    merges = []
    for row, record in zip(rows, given, strict=True):
        of_batch, change = facts.get(record.batch_id), changed[record.batch_id, record.item_id]
        if of_batch is None:
            merges.append(Merge(row, Fate.WITHHELD, None, "its batch is not here yet"))
        elif of_batch.forgets(record):
            merges.append(Merge(row, Fate.HELD, None))
        else:
            stored = change.after
            change.after = record if stored is None else newer(stored, record)
            change.replaces = change.after is not change.before
            merges.append(Merge(row, Fate.HELD, change.after.version.write_id))
    changes.write(connection, changed.values())
    for batch_id in sorted(here):
        merging_batches.show(connection, facts[batch_id])
    claimed = (change.after.worker for change in changed.values() if change.after is not None)
    _list_again(connection, {worker_id for worker_id in claimed if worker_id is not None})
    return merges


def _list_again(connection: Connection, worker_ids: AbstractCollection[str]) -> None:
    """Workers that are gone, and for which a claim came back: somebody has to end it."""
    for row in fact_rows.find_all(connection, Kind.WORKER, worker_ids).values():
        if isinstance(row, WorkerRow) and row.gone:
            leases.renew(connection, row.worker)


def _merge_vectors(connection: Connection, rows: Sequence[Row]) -> list[Merge]:
    given: defaultdict[EmbeddingIdentity, dict[UUID, Vector]] = defaultdict(dict)
    for row in rows:
        body = cast("VectorRow", row.body)
        given[body.embedding][body.vector_id] = np.asarray(body.vector, np.float32)
    for embedding, vectors in given.items():
        documents_write.put_vectors(connection, embedding, vectors)
    return [Merge(row, Fate.HELD, row.token) for row in rows]


def _merge_one_by_one(connection: Connection, rows: Sequence[Row]) -> list[Merge]:
    places = [bodies.place_of(row.body) for row in rows]
    there = bodies.find(connection, rows[0].kind, places)
    merges = []
    for row, place in zip(rows, places, strict=True):
        result, there_now = _merge(connection, row, there.get(place))
        merges.append(result)
        if there_now is not None:
            there[place] = there_now
    return merges


def _merge(connection: Connection, row: Row, stored: Body | None) -> tuple[Merge, Body | None]:
    """What became of the row, and what is there then."""
    token = row_of(stored).token if stored is not None else None
    try:
        body = merged(stored, row.body)
    except GristmillError as error:
        return Merge(row, Fate.REFUSED, token, str(error)), stored
    after = row_of(body).token
    if after != token:
        _store(connection, body, stored)
    return Merge(row, Fate.HELD, after), body


_MERGERS = {
    Kind.RECORD: _merge_records,
    Kind.VECTOR: _merge_vectors,
    Kind.CHUNKS: merging_versions.merge,
}


def _store(connection: Connection, body: Body, stored: Body | None) -> None:
    match body:
        case WorkerRow():
            _store_worker(connection, body, cast("WorkerRow | None", stored))
        case Collection():
            _store_collection(connection, body)
        case BatchFacts():
            merging_batches.store(connection, body, cast("BatchFacts | None", stored))
        case EndFact():
            _store_end(connection, body, cast("EndFact | None", stored))
        case _:
            raise AssertionError("These are merged together.")


def _store_worker(connection: Connection, row: WorkerRow, stored: WorkerRow | None) -> None:
    worker_id = row.worker.worker_id
    fact_rows.store(connection, Kind.WORKER, worker_id, row, before=stored)
    if row.gone and not leases.holds(connection, worker_id):
        leases.forget(connection, worker_id)
    else:
        leases.renew(connection, row.worker)


def _store_collection(connection: Connection, collection: Collection) -> None:
    collection_rows.open_collection(
        connection, collection.name, embedding=collection.embedding, now=collection.created_at
    )
    is_named = collections.c.name == collection.name
    connection.execute(update(collections).where(is_named).values(created_at=collection.created_at))


def _store_end(connection: Connection, end: EndFact, stored: EndFact | None) -> None:
    event, place = end.event, end.event.event_id.hex
    fact_rows.store(connection, Kind.END, place, end, before=stored)
    outbox.replace(connection, event, delivered_at=event.ended_at if end.delivered else None)
    batch = fact_rows.find(connection, Kind.BATCH, event.batch_id.hex, BatchFacts)
    if batch is not None and batch.deleted is None:
        merging_batches.show(connection, batch)
    if batch is not None:
        merging_batches.forget_told_ends(connection, batch)
