"""What workers report of the records they hold. Each function runs in one transaction; ``domain.moves`` decides."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from sqlalchemy import Connection, select

from gristmill.domain import moves
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
    known = _known_batches(connection, found) & kept
    refused: list[Refusal] = []
    holds = Holds(connection, pause_seconds=policy.snooze_seconds)
    for report in reports:
        claimed = report.record
        change = found[claimed.batch_id, claimed.item_id]
        met = change.after
        if (met is None and claimed.batch_id not in known) or not moves.meets(met, report):
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


def _known_batches(connection: Connection, found: Changes) -> set[UUID]:
    """Those of the batches of records that are not there which are there themselves."""
    asked = {batch_id for (batch_id, _), change in found.items() if change.before is None}
    if not asked:
        return set()
    return set(connection.scalars(select(batches.c.batch_id).where(batches.c.batch_id.in_(asked))))


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
