"""The rows of new records: of one batch all but a few columns are the same, so they are made once."""

from collections.abc import Iterable, Iterator

from gristmill.domain import identity
from gristmill.domain.batch import Batch
from gristmill.domain.record import Item, Record, claim_order
from gristmill.domain.versions import Version
from gristmill.stores.sql.columns import instant, json_text, storable
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.rows import NAMES, Values, values_of

_SAME = slice(NAMES.index("status"), NAMES.index("stamp"))
_LAST = slice(NAMES.index("owed"), None)


def record_of(batch: Batch, item: Item, draw: DrawWrite) -> Record:
    """A new record as it is stored."""
    write = draw()
    return Record(
        batch_id=batch.batch_id,
        item_id=item.item_id,
        kind=item.kind,
        source=item.source,
        payload=item.payload,
        priority=batch.priority,
        created_at=write.now,
        updated_at=write.now,
        next_attempt_at=write.now,
        version=Version().written(stamp=write.stamp, write_id=write.write_id),
    )


def rows_of(batch: Batch, items: Iterable[Item], draw: DrawWrite) -> Iterator[Values]:
    """``values_of(record_of(batch, item, draw))`` for each item, in a third of the time."""
    shape = record_of(batch, Item("shape", "shape"), draw)
    row = values_of(shape)
    same, last = row[_SAME], row[_LAST]
    head_start = instant(shape.created_at) - claim_order(shape)[0]
    batch_id, priority, record_id = batch.batch_id.bytes, batch.priority, identity.record_ids(batch.batch_id)
    for item in items:
        write = draw()
        now = instant(write.now)
        yield (
            record_id(item.item_id),
            batch_id,
            item.item_id,
            item.kind,
            None if item.source is None else storable(item.source),
            json_text(item.payload) if item.payload else "{}",
            priority,
            now - head_start,
            now,
            now,
            now,
            *same,
            now,
            write.write_id,
            *last,
        )
