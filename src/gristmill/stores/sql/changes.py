"""Records on their way through a transaction: read, changed by ``domain.moves``, and written with the figures."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from gristmill.domain.record import Record, RecordStatus
from gristmill.stores.sql import record_store
from gristmill.stores.sql.rows import record_of
from gristmill.stores.sql.tally import Tally


@dataclass(slots=True)
class Change:
    """A record as it is stored, under its number, and as the transaction leaves it; both None where nothing is stored.

    ``replaces``: it is written whole, as another database's copy of it is.
    """

    no: int | None = None
    before: Record | None = None
    after: Record | None = None
    replaces: bool = False

    @property
    def only_completes(self) -> bool:
        """Whether nothing else changes than what completing a claim without an error does (``COMPLETED_NAMES``)."""
        before, after = self.before, self.after
        if before is None or after is None or after.status is not RecordStatus.COMPLETED:
            return False
        if before.status is not RecordStatus.PROCESSING or before.error is not None:
            return False
        return not self.replaces or _same(before, after, _OF_CLAIM)

    @property
    def has_same_origin(self) -> bool:
        """Whether what no move changes is as it is stored; not so if both sides of a split created the record."""
        before, after = self.before, self.after
        if before is None or after is None:
            return False
        return _same(before, after, _ORIGIN)


_ORIGIN = ("created_at", "kind", "source", "priority", "payload")
# Another copy may have been claimed, retried and completed since: then these differ too.
_OF_CLAIM = ("round", "epoch", "attempts", "retries_total", "next_attempt_at", "started_at", "last_error_at")


def _same(one: Record, other: Record, names: Iterable[str]) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in names)


# By batch_id and item_id.
Changes = dict[tuple[UUID, str], Change]


def find(connection: Connection, given: Iterable[Record], kept: Container[UUID]) -> Changes:
    """A change for every record given, with what is stored of it in the batches that are kept (``locks``).

    A row that bears the claim and the write id of the record in hand is that record (protocol V2), and is not read
    again.
    """
    changes: Changes = {}
    batches: dict[UUID, dict[str, list[Record]]] = {}
    for record in given:
        batches.setdefault(record.batch_id, {}).setdefault(record.item_id, []).append(record)
    for batch_id, items in batches.items():
        found = {item_id: Change() for item_id in items}
        if batch_id in kept:
            _fill(connection, batch_id, items, found)
        changes |= {(batch_id, item_id): change for item_id, change in found.items()}
    return changes


def _fill(
    connection: Connection, batch_id: UUID, in_hand: dict[str, list[Record]], found: dict[str, Change]
) -> None:
    others = []
    for no, item_id, *marks in record_store.keys_of_items(connection, batch_id, list(in_hand)):
        change = found[item_id]
        change.no = no
        same = (each for each in in_hand[item_id] if [each.claim_id, each.version.write_id] == marks)
        change.before = change.after = next(same, None)
        if change.before is None:
            others.append(item_id)
    for row in record_store.rows_of_items(connection, batch_id, others):
        record = record_of(row)
        change = found[record.item_id]
        change.before = change.after = record


def write(connection: Connection, changes: Iterable[Change]) -> None:
    """Write the records that changed, and what that changes in the figures of their batches."""
    tally = Tally()
    new: list[Record] = []
    whole: list[Record] = []
    moved: list[tuple[int, Record]] = []
    completed: list[tuple[int, Record]] = []
    for change in changes:
        if change.after is None or change.after is change.before:
            continue
        tally.moved(change.before, change.after)
        if change.no is None:
            new.append(change.after)
        elif change.replaces and not change.has_same_origin:
            whole.append(change.after)
        elif change.only_completes:
            completed.append((change.no, change.after))
        else:
            moved.append((change.no, change.after))
    record_store.insert_missing(connection, new)
    record_store.replace(connection, whole)
    record_store.move(connection, moved)
    record_store.complete(connection, completed)
    tally.write(connection)
