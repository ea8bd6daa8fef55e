"""Creating batches and their records, and sealing them; each function runs in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, update

from gristmill.domain.batch import Batch, NewBatch, missing_records
from gristmill.domain.identity import checked_item_id
from gristmill.domain.record import Item, RecordStatus
from gristmill.ports.batches import Created
from gristmill.ports.errors import BatchConflictError
from gristmill.stores.sql import batch_rows, locks, new_rows, record_store
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables import batches
from gristmill.stores.sql.tally import Tally
from gristmill.stores.sql.upserts import insert


def create_batch(connection: Connection, new: NewBatch, *, now: datetime) -> Batch:
    values = batch_rows.values_of(new, now)
    new_row = insert(batches).values(values).or_nothing().returning(batches.c.batch_id)
    while connection.execute(new_row).first() is None:
        if not locks.keep(connection, [new.batch_id]):
            continue  # Deleted just now.
        unsealed = (batches.c.batch_id == new.batch_id) & batches.c.sealed_at.is_(None)
        connection.execute(update(batches).where(unsealed).values(submitter=new.submitter))
        break
    return batch_rows.batch_of(batch_rows.row_of(connection, new.batch_id))


def create_records(
    connection: Connection, batch_id: UUID, items: Sequence[Item], *, draw: DrawWrite
) -> Created:
    row = batch_rows.kept_row(connection, batch_id)
    batch = batch_rows.batch_of(row)
    item_ids = [checked_item_id(item.item_id, position=position) for position, item in enumerate(items)]
    if batch.sealed_at is not None:
        there = {found[1] for found in record_store.keys_of_items(connection, batch_id, item_ids)}
        others = list(dict.fromkeys(item_id for item_id in item_ids if item_id not in there))
        if len(others) > missing_records(batch, batch_rows.counters_of(row).total):
            raise BatchConflictError(batch_id, others)
        if not others:
            return Created(created=0, existing=len(items))
    created = record_store.insert_new(
        connection, batch_id, items, lambda new: new_rows.rows_of(batch, new, draw)
    )
    tally = Tally()
    tally.changed(batch_id, {RecordStatus.PENDING: created})
    tally.write(connection)
    return Created(created=created, existing=len(items) - created)


def seal_batch(connection: Connection, batch_id: UUID, *, anew: bool, now: datetime) -> Batch:
    row = batch_rows.taken_row(connection, batch_id)
    batch, total = batch_rows.batch_of(row), batch_rows.counters_of(row).total
    if batch.sealed_at is None or (anew and missing_records(batch, total)):
        sealed_at = batch.sealed_at or now
        batch_rows.change(connection, batch_id, now=now, sealed_at=sealed_at, total_files=total)
    return batch_rows.batch_of(batch_rows.row_of(connection, batch_id))
