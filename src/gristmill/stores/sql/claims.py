"""Handing due records to a worker: one statement picks, marks and returns them."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Text, bindparam, case, func, or_, select, update

from gristmill.domain.batch import BatchStatus
from gristmill.domain.moves import Write
from gristmill.domain.record import Record, RecordStatus
from gristmill.domain.versions import Ending, Step
from gristmill.stores.sql.columns import instant
from gristmill.stores.sql.due import Choice, first_due, is_one_of, make_due, read_in_order, shares
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.rows import COLUMNS, ROW_TEXT, record_of
from gristmill.stores.sql.tables import batches, records

_PLACES = {column.name: place for place, column in enumerate(COLUMNS)}
_BATCH_ID = itemgetter(_PLACES["batch_id"])
_STARTED_AT = itemgetter(_PLACES["started_at"])
_ORDER = itemgetter(_PLACES["claim_order"], _PLACES["record_id"])


def claim_records(
    connection: Connection,
    chosen: Sequence[Choice],
    *,
    limit: int,
    worker_id: str,
    claim_id: str,
    write: Write,
) -> list[Record]:
    asked = [each for each in chosen if each.kinds]
    if not asked or limit < 1:
        return []
    read_in_order(connection)
    for each in asked:
        make_due(connection, each, now=write.now, limit=limit)
    now = instant(write.now)
    parameters = {
        "by_worker": worker_id,
        "by_claim": claim_id,
        "at": now,
        "at_stamp": write.stamp,
        "write": f"{write.write_id}.",
    }
    rows: list[Row[Any]] = []
    for each, most in shares(connection, asked, limit=limit):
        claim = _claim(*each.shape)
        rows += claim.execute(connection, {**parameters, "most": most, **each.parameters}).all()
    for batch_id, claimed in sorted(Counter(map(_BATCH_ID, rows)).items()):
        # Not always now: what was claimed before keeps its start, and the clock may have been set back since.
        first = min(_STARTED_AT(row) for row in rows if _BATCH_ID(row) == batch_id)
        _START.execute(connection, {"of_batch": batch_id, "claimed": claimed, "at": now, "first": first})
    return [record_of(row) for row in sorted(rows, key=_ORDER)]


@lru_cache
def _claim(kinds: int, in_batch: bool) -> RawStatement:  # noqa: FBT001 (a shape, see Choice)
    """``moves.claim`` as a statement; each row gets a write id of its own."""
    changes = {
        "status": RecordStatus.PROCESSING.value,
        "progress": 0,
        "attempts": records.c.attempts + 1,
        "claim_id": bindparam("by_claim"),
        "worker": bindparam("by_worker"),
        "started_at": func.coalesce(records.c.started_at, bindparam("at")),
        "ended_at": None,
        "updated_at": bindparam("at"),
        "ending": Ending.OPEN.value,
        "epoch": records.c.epoch + 1,
        "step": Step.PROCESSING.value,
        "revision": records.c.revision + 1,
        "stamp": bindparam("at_stamp"),
        "write_id": bindparam("write", type_=Text) + ROW_TEXT,
        "owed": True,
        "due": None,
    }
    change = update(records).values(changes).returning(*COLUMNS)
    free = first_due(kinds, in_batch, free=True)
    return RawStatement(
        change.where(records.c.no.in_(select(first_due(kinds, in_batch).c.no))),
        on_postgres=change.where(is_one_of(free.c.no)),
    )


_NOT_STARTED = batches.c.started_at.is_(None)
_NOW: BindParameter[int] = bindparam("at")
_FIRST: BindParameter[int] = bindparam("first")
_START = RawStatement(
    update(batches)
    .where(batches.c.batch_id == bindparam("of_batch"))
    .values(
        pending=batches.c.pending - bindparam("claimed"),
        processing=batches.c.processing + bindparam("claimed"),
        status=case((_NOT_STARTED, BatchStatus.PROCESSING.value), else_=batches.c.status),
        started_at=func.coalesce(batches.c.started_at, _NOW),
        first_started_at=case(
            (or_(batches.c.first_started_at.is_(None), batches.c.first_started_at > _FIRST), _FIRST),
            else_=batches.c.first_started_at,
        ),
        updated_at=case((_NOT_STARTED, _NOW), else_=batches.c.updated_at),
    )
)
