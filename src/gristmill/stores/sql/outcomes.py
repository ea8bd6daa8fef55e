"""What workers report of the records they hold. Each function runs in one transaction.

``domain.moves`` decides; here rows are read, moved and written in bulk.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Connection, select

from gristmill.domain import moves
from gristmill.domain.record import Record, RecordStatus, Refusal, Report
from gristmill.domain.retry import RetryPolicy
from gristmill.stores.sql import record_store
from gristmill.stores.sql.record_store import DrawWrite, Found
from gristmill.stores.sql.tables import batches
from gristmill.stores.sql.tally import Tally

_Key = tuple[UUID, str]


def apply_reports(
    connection: Connection, reports: Sequence[Report], *, policy: RetryPolicy, draw: DrawWrite
) -> list[Refusal]:
    found = record_store.find(connection, [report.record for report in reports])
    known = {batch_id for batch_id, _ in found}
    known |= _existing(connection, {report.record.batch_id for report in reports} - known)
    moved: dict[_Key, Record] = {}
    replaced: set[_Key] = set()
    refused: list[Refusal] = []
    for report in reports:
        claimed = report.record
        key = (claimed.batch_id, claimed.item_id)
        met = moved.get(key) or (found[key].record if key in found else None)
        if claimed.batch_id not in known or not moves.meets(met, report):
            refused.append(Refusal(report=report, met=met))
        elif met is not None and met.claim == claimed.claim:
            moved[key] = moves.settle(met, report.outcome, policy, draw())
        else:
            moved[key] = moves.settle(claimed, report.outcome, policy, draw())
            replaced.add(key)
    _write(connection, found, moved, replaced)
    return refused


def _existing(connection: Connection, batch_ids: set[UUID]) -> set[UUID]:
    if not batch_ids:
        return set()
    return set(connection.scalars(select(batches.c.batch_id).where(batches.c.batch_id.in_(batch_ids))))


def _write(connection: Connection, found: Found, moved: dict[_Key, Record], replaced: set[_Key]) -> None:
    tally = Tally()
    for key, record in moved.items():
        tally.moved(found[key].record if key in found else None, record)
    record_store.replace(connection, [moved[key] for key in replaced])
    record_store.move(
        connection, [(found[key].record_id, moved[key]) for key in moved if key not in replaced]
    )
    tally.write(connection)


def show_stages(
    connection: Connection, given: Sequence[Record], *, stage: str, progress: int, draw: DrawWrite
) -> list[Record]:
    found = record_store.find(connection, given)

    def show(held: Record) -> Record:
        return moves.progressed(held, stage=stage, progress=progress, write=draw())

    shown, changed = _held(found, given, show)
    record_store.show(connection, [(found[key].record_id, record) for key, record in changed.items()])
    return shown


def release(connection: Connection, given: Sequence[Record], *, draw: DrawWrite) -> int:
    found = record_store.find(connection, given)
    released, changed = _held(found, given, lambda held: moves.release(held, draw()))
    _write(connection, found, changed, set())
    return len(released)


def _held(
    found: Found, given: Sequence[Record], move: Callable[[Record], Record]
) -> tuple[list[Record], dict[_Key, Record]]:
    """Move those of the records that their claim still holds; returns every move, and each record's last one."""
    moved: list[Record] = []
    changed: dict[_Key, Record] = {}
    for record in given:
        key = (record.batch_id, record.item_id)
        held = changed.get(key) or (found[key].record if key in found else None)
        if held is not None and held.status is RecordStatus.PROCESSING and held.claim == record.claim:
            changed[key] = move(held)
            moved.append(changed[key])
    return moved, changed
