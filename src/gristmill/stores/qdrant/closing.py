"""How a merge of records ends with one request, where nothing came between.

Batches are read before their records are stored and written again after, under new tokens and with the number of the
database. If those writes meet the tokens that were read, nobody has changed, ended or deleted the batch meanwhile, and
whoever counted its records before these came must count again. If not, or if some of the records were not stored the
first time, all that follows is looked at anew.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.record import Record
from gristmill.ports.rows import Kind, Row
from gristmill.stores.qdrant import batch_points
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.points import TOKEN, has_id, set_by, swap_by, where
from gristmill.stores.qdrant.replica import Replica
from gristmill.stores.qdrant.worker_points import GONE, RETURNED, worker_point_id

Send = Callable[[Sequence[models.UpdateOperation], Mapping[UUID, str]], Awaitable[tuple[Replica, bool]]]


def batches_of(rows: Iterable[Row]) -> set[UUID]:
    """Those of the records among the rows."""
    return {cast("Record", row.body).batch_id for row in rows if row.kind is Kind.RECORD}


@dataclass(slots=True)
class Closing:
    """``batches`` as they were before any record was stored, if nothing else came with the records; ``rows`` are these.

    ``send`` is that of the database's number (``ReplicaStore.closed``), ``ended`` what it brought, and ``is_calm``
    whether nothing but that follows from the records.
    """

    batches: Mapping[UUID, StoredBatch]
    send: Send
    rows: list[Row] = field(default_factory=list)
    ended: Replica | None = None
    is_calm: bool = False

    async def close(self) -> None:
        """Once the records are stored. Sends nothing if more follows than that counting begins anew."""
        if not batches_of(self.rows) <= self.batches.keys():
            return
        if all(each.facts.deleted is None and each.end is None for each in self.batches.values()):
            self.ended, self.is_calm = await self.send(*self._updates())

    def _updates(self) -> tuple[list[models.UpdateOperation], dict[UUID, str]]:
        """What to write, and the tokens that the batches bear afterwards if nothing came between."""
        updates: list[models.UpdateOperation] = []
        tokens = {}
        for batch_id, stored in self.batches.items():
            tokens[batch_id] = stored.token
            if stored.facts.seal is not None:
                new = batch_points.point_of(stored)
                updates.append(swap_by(new, stored.token))
                tokens[batch_id] = (new.payload or {})[TOKEN]
        holding = {cast("Record", row.body).worker for row in self.rows} - {None}
        if workers := [worker_point_id(each) for each in holding if each is not None]:
            updates.append(set_by({RETURNED: uuid4().hex}, where(has_id(workers), GONE)))
        return updates, tokens
