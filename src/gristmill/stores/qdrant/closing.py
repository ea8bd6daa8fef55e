"""How a merge of records ends with one request, where nothing came between.

Batches are read before their records are stored and written again after, under new tokens and with the number of the
database. If those writes meet the tokens that were read, nobody has changed, ended or deleted the batch meanwhile, and
whoever counted its records before these came must count again. If not, all that follows is looked at anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.record import Record
from gristmill.ports.rows import Kind, Row
from gristmill.stores.qdrant import batch_points
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.points import TOKEN, has_id, set_by, swap_by, where
from gristmill.stores.qdrant.worker_points import GONE, RETURNED, worker_point_id


def batches_of(rows: Iterable[Row]) -> set[UUID]:
    """Those of the records among the rows."""
    return {cast("Record", row.body).batch_id for row in rows if row.kind is Kind.RECORD}


@dataclass(slots=True)
class Closing:
    """``batches`` as they were before any record was stored, if nothing else came with the records; ``rows`` are these."""

    batches: Mapping[UUID, StoredBatch]
    rows: list[Row] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)

    @property
    def is_calm(self) -> bool:
        """Whether nothing follows from the records but that counting begins anew."""
        if not batches_of(self.rows) <= self.batches.keys():
            return False
        return all(each.facts.deleted is None and each.end is None for each in self.batches.values())

    def updates(self) -> tuple[list[models.UpdateOperation], dict[UUID, str]]:
        """What to write, and the tokens that the batches bear afterwards if nothing came between."""
        updates: list[models.UpdateOperation] = []
        tokens = {}
        for batch_id, stored in self.batches.items():
            tokens[batch_id] = stored.token
            if stored.facts.seal is not None:
                new = batch_points.point_of(stored)
                updates.append(swap_by(new, stored.token))
                tokens[batch_id] = (new.payload or {})[TOKEN]
        if self.workers:
            gone = where(has_id(map(worker_point_id, self.workers)), GONE)
            updates.append(set_by({RETURNED: uuid4().hex}, gone))
        return updates, tokens
