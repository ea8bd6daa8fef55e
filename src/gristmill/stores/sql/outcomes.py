"""What workers report of the records they hold. Each function runs in one transaction; ``domain.moves`` decides."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from gristmill.domain import moves
from gristmill.domain.facts import FORGOTTEN_AFTER
from gristmill.domain.record import Record, RecordStatus, Refusal, Report
from gristmill.domain.retry import RetryPolicy
from gristmill.stores.sql import changes, locks, record_store
from gristmill.stores.sql.changes import Changes
from gristmill.stores.sql.holds import Holds
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.tables import batches


class UnknownRecordsError(Exception):
    """The batches must be taken first (``locks``): two could insert the same record."""

    def __init__(self, batch_ids: AbstractSet[UUID]) -> None:
        super().__init__(batch_ids)
        self.batch_ids = batch_ids


def apply_reports(
    connection: Connection,
    reports: Sequence[Report],
    *,
    policy: RetryPolicy,
    draw: DrawWrite,
    alone: AbstractSet[UUID] = frozenset(),
) -> list[Refusal]:
    """``alone``: the batches to be taken. Raises UnknownRecordsError if there must be more."""
    given = [report.record for report in reports]
    taken = locks.take(connection, alone)
    kept = taken | locks.keep(connection, {record.batch_id for record in given} - alone)
    found = changes.find(connection, given, kept)
    missing = {batch_id for (batch_id, _), change in found.items() if change.no is None}
    if (missing & kept) - taken and locks.needed(connection):
        raise UnknownRecordsError((missing & kept) | alone)
    known = {batch_id: at for batch_id, at in _known_batches(connection, found).items() if batch_id in kept}
    refused: list[Refusal] = []
    holds = Holds(connection, pause_seconds=policy.snooze_seconds)
    for report in reports:
        claimed = report.record
        change = found[claimed.batch_id, claimed.item_id]
        met = change.after
        if (met is None and not _may_come(claimed, known)) or not moves.meets(met, report):
            refused.append(Refusal(report=report, met=met))
            continue
        if met is not None and met.claim == claimed.claim:
            change.after = moves.settle(met, report.outcome, policy, draw())
        else:
            change.after = moves.settle(claimed, report.outcome, policy, draw())
            change.replaces = True
        holds.note(claimed.batch_id, report.outcome, now=change.after.updated_at)
    changes.write(connection, found.values())
    holds.write()
    return refused


def _known_batches(connection: Connection, found: Changes) -> dict[UUID, datetime]:
    """Those of the batches of records that are not there which are there themselves, and since when."""
    asked = {batch_id for (batch_id, _), change in found.items() if change.before is None}
    if not asked:
        return {}
    rows = select(batches.c.batch_id, batches.c.created_at).where(batches.c.batch_id.in_(asked))
    return {row.batch_id: row.created_at for row in connection.execute(rows)}


def _may_come(record: Record, known: Mapping[UUID, datetime]) -> bool:
    """Whether a record that is not there is one of its batch, not of an earlier one of the same id (B3)."""
    since = known.get(record.batch_id)
    return since is not None and record.created_at >= since - FORGOTTEN_AFTER


def show_stages(
    connection: Connection, given: Sequence[Record], *, stage: str, progress: int, draw: DrawWrite
) -> list[Record]:
    def show(held: Record) -> Record:
        return moves.progressed(held, stage=stage, progress=progress, write=draw())

    found = changes.find(connection, given, _kept(connection, given))
    shown = _move_held(found, given, show)
    record_store.show(
        connection,
        [
            (change.no, change.after)
            for change in found.values()
            if change.no is not None and change.after is not None and change.after is not change.before
        ],
    )
    return shown


def release(connection: Connection, given: Sequence[Record], *, draw: DrawWrite) -> int:
    found = changes.find(connection, given, _kept(connection, given))
    released = _move_held(found, given, lambda held: moves.release(held, draw()))
    changes.write(connection, found.values())
    return len(released)


def _kept(connection: Connection, given: Sequence[Record]) -> AbstractSet[UUID]:
    return locks.keep(connection, {record.batch_id for record in given})


def _move_held(found: Changes, given: Sequence[Record], move: Callable[[Record], Record]) -> list[Record]:
    """Move those of the records that their claim still holds."""
    moved: list[Record] = []
    for record in given:
        change = found[record.batch_id, record.item_id]
        held = change.after
        if held is not None and held.status is RecordStatus.PROCESSING and held.claim == record.claim:
            change.after = move(held)
            moved.append(change.after)
    return moved
