"""What outcomes do to the holds of their batches, in their transaction; ``domain.hold`` decides."""

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

    def note(self, batch_id: UUID, outcome: Outcome, *, now: datetime) -> None:
        if batch_id not in self._before:
            self._before[batch_id] = self._after[batch_id] = self._stored(batch_id)
        before = self._after[batch_id]
        self._after[batch_id] = hold.after(before, outcome, now=now, pause_seconds=self._pause_seconds)

    def write(self) -> None:
        for batch_id, after in self._after.items():
            if after != self._before[batch_id]:
                changed = update(batches).where(batches.c.batch_id == batch_id).values(hold_values(after))
                self._connection.execute(changed)

    def _stored(self, batch_id: UUID) -> Hold:
        # Nearly always there is none, and one number says so.
        if not _STREAK.execute(self._connection, {"of_batch": batch_id.bytes}).scalar():
            return NOT_HELD
        row = self._connection.execute(select(batches).where(batches.c.batch_id == batch_id)).one()
        return hold_of(row)
