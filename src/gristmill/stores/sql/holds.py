"""What outcomes do to the holds of their batches, in their transaction; ``domain.hold`` decides."""

from collections import defaultdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, select, update

from gristmill.domain import hold
from gristmill.domain.hold import NOT_HELD, Hold
from gristmill.domain.record import Outcome
from gristmill.stores.sql.batch_rows import hold_of, hold_values
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables import batches

_STREAK = RawStatement(select(batches.c.hold_streak).where(batches.c.batch_id == bindparam("of_batch")))


class Holds:
    """The holds of the batches whose outcomes are noted: each read once, and written if it changed."""

    def __init__(self, connection: Connection, *, pause_seconds: float) -> None:
        self._connection = connection
        self._pause_seconds = pause_seconds
        self._before: dict[UUID, Hold] = {}
        self._after: dict[UUID, Hold] = {}
        self._noted: defaultdict[UUID, list[tuple[Outcome, datetime]]] = defaultdict(list)

    def note(self, batch_id: UUID, outcome: Outcome, *, now: datetime) -> None:
        if batch_id not in self._before:
            self._before[batch_id] = self._after[batch_id] = self._stored(batch_id)
        self._noted[batch_id].append((outcome, now))
        self._after[batch_id] = self._following(self._after[batch_id], outcome, now)

    def write(self) -> None:
        """After the figures of the batches, whose rows are locked from then on."""
        for batch_id in sorted(self._after):
            if self._after[batch_id] == self._before[batch_id]:
                continue
            after = self._stored(batch_id)
            for outcome, now in self._noted[batch_id]:
                after = self._following(after, outcome, now)
            changed = update(batches).where(batches.c.batch_id == batch_id).values(hold_values(after))
            self._connection.execute(changed)

    def _following(self, before: Hold, outcome: Outcome, now: datetime) -> Hold:
        return hold.after(before, outcome, now=now, pause_seconds=self._pause_seconds)

    def _stored(self, batch_id: UUID) -> Hold:
        # Nearly always there is none, and one number says so.
        if not _STREAK.execute(self._connection, {"of_batch": batch_id.bytes}).scalar():
            return NOT_HELD
        row = self._connection.execute(select(batches).where(batches.c.batch_id == batch_id)).one()
        return hold_of(row)
