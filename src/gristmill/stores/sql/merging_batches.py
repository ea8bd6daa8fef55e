"""Facts of batches that come from another database; what is shown of a batch follows from them and the records here."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select, update

from gristmill.domain.batch import NewBatch
from gristmill.domain.facts import BatchFacts, EndFact, batch_of, confirms_end
from gristmill.domain.identity import end_event_id
from gristmill.ports.rows import Kind
from gristmill.stores.sql import batch_rows, changes, endings, fact_rows, mark_rows
from gristmill.stores.sql.batch_rows import hold_values
from gristmill.stores.sql.changes import Change
from gristmill.stores.sql.columns import storable
from gristmill.stores.sql.rows import COLUMNS, record_of
from gristmill.stores.sql.tables import batches, events, records
from gristmill.stores.sql.upserts import insert


def store(connection: Connection, facts: BatchFacts, stored: BatchFacts | None) -> None:
    fact_rows.store(connection, Kind.BATCH, facts.batch_id.hex, facts, before=stored)
    here = batch_rows.find_row(connection, facts.batch_id) is not None
    if facts.deleted is not None:
        endings.delete_batches(connection, [facts.batch_id])
        forget_told_ends(connection, facts)
        return
    if here and stored is not None and stored.life != facts.life:
        _begin_anew(connection, facts)
    elif not here:
        _insert(connection, facts)
    show(connection, facts)
    forget_told_ends(connection, facts)


def _insert(connection: Connection, facts: BatchFacts) -> None:
    new = NewBatch(facts.batch_id, facts.header.kind, options=facts.header.options)
    values = batch_rows.values_of(new, facts.header.created_at)
    connection.execute(insert(batches).values(values))


def _begin_anew(connection: Connection, facts: BatchFacts) -> None:
    """The batch was cleaned up and created again over there: keep only records of its new life."""
    rows = connection.execute(select(*COLUMNS).where(records.c.batch_id == facts.batch_id))
    kept = [record for record in map(record_of, rows.all()) if not facts.forgets(record)]
    endings.delete_batches(connection, [facts.batch_id])
    _insert(connection, facts)
    changes.write(connection, [Change(after=record) for record in kept])


def show(connection: Connection, facts: BatchFacts) -> None:
    """Bring the row of the batch in line with its facts, and with what the records here say of its end."""
    row = batch_rows.row_of(connection, facts.batch_id)
    counters = batch_rows.counters_of(row)
    end = end_of(connection, facts)
    batch = batch_of(facts, end if end and confirms_end(facts, counters) else None, counters)
    values: dict[str, Any] = {
        "kind": batch.kind,
        "name": None if batch.name is None else storable(batch.name),
        "collection": batch.collection,
        "priority": batch.priority,
        "round": batch.round,
        "status": batch.status.value,
        "created_at": batch.created_at,
        "updated_at": batch.updated_at,
        "total_files": batch.total_files,
        "max_error_rate": batch.max_error_rate,
        "error_message": batch.error_message,
        "cancel_requested": batch.cancel_requested,
        "sealed_at": batch.sealed_at,
        "started_at": batch.started_at,
        "completed_at": batch.completed_at,
        "submitter": batch.submitter,
        "options": batch.options,
        **hold_values(batch.hold),
    }
    connection.execute(update(batches).where(batches.c.batch_id == facts.batch_id).values(values))


def end_of(connection: Connection, facts: BatchFacts) -> EndFact | None:
    """The end of the round the batch is in."""
    event_id = end_event_id(facts.batch_id, facts.round)
    end = fact_rows.find(connection, Kind.END, event_id.hex, EndFact)
    return end if end is not None and end.life == facts.life else None


def forget_told_ends(connection: Connection, facts: BatchFacts) -> None:
    """A told end of an earlier life stays for as long as the other database has not heard that it was told."""
    of_batch = events.c.batch_id == facts.batch_id
    for event_id in connection.scalars(select(events.c.event_id).where(of_batch)).all():
        forget_told_end(connection, event_id, facts)


def forget_told_end(connection: Connection, event_id: UUID, facts: BatchFacts) -> None:
    end = fact_rows.find(connection, Kind.END, event_id.hex, EndFact)
    if end is None or not end.delivered or mark_rows.marked(connection, Kind.END, [event_id.hex]):
        return
    if facts.deleted is not None or end.life < facts.life:
        connection.execute(delete(events).where(events.c.event_id == event_id))
        mark_rows.forget(connection, Kind.END, [event_id.hex])
