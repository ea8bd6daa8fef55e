"""Leases: workers, what they show and give back, and what is taken back from them.

Taking back writes the worker off, then moves its records, then says that none are left (``worker_points``). Until
then, and when a merge brings records of one that is gone, it is listed as long as it holds any.
"""

from collections.abc import Sequence
from datetime import datetime

from qdrant_client import models

from gristmill.domain import moves
from gristmill.domain.record import Record, RecordStatus
from gristmill.domain.versions import Version
from gristmill.ports.batches import Worker
from gristmill.ports.rows import WorkerRow
from gristmill.stores.qdrant import schema, worker_points
from gristmill.stores.qdrant.batch_store import BatchStore
from gristmill.stores.qdrant.points import equals, has_id, where
from gristmill.stores.qdrant.record_points import id_of, record_of
from gristmill.stores.qdrant.worker_points import RETURNED, WORKER, row_of, worker_point_id

_PROCESSING = equals("status", RecordStatus.PROCESSING.value)


class Leases(BatchStore):
    async def renew_lease(self, worker: Worker) -> None:
        while True:
            stored = await self._worker(worker.worker_id)
            if await self._swap_worker(WorkerRow(worker, self._next(stored)), stored):
                return

    async def list_workers(self) -> Sequence[Worker]:
        found = await self._state.by_id(schema.of_type(WORKER))
        rows = {each["worker_id"]: row_of(each) for each in found}
        returned = {each["worker_id"] for each in found if RETURNED in each}
        holding = (await self._records.facet("worker", where(_PROCESSING))).keys() if returned else set()
        return [row.worker for key, row in rows.items() if not row.gone or key in returned & holding]

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        point_id = worker_point_id(worker_id)
        while (payload := (await self._state.get([point_id])).get(point_id)) is not None:
            stored = row_of(payload)
            if stored.gone:
                break
            if stored.worker.renewed_at > renewed_at:
                return []
            await self._swap_worker(WorkerRow(stored.worker, self._next(stored), gone=True), stored)
        moved = await self._move_from(worker_id)
        if payload is not None and RETURNED in payload:
            seen = where(has_id([point_id]), equals(RETURNED, payload[RETURNED]))
            await self._state.clear([RETURNED], seen)
        return moved

    async def _move_from(self, worker_id: str) -> list[Record]:
        rows = {id_of(each): each for each in await self._records.by_id(_held_by(worker_id))}
        begun = sum(record_of(each).begun for each in rows.values())

        def end(record: Record) -> Record | None:
            if record.worker != worker_id:
                return None
            return moves.end_lease(record, self._policy, self._write(), begun=begun)

        return list((await self._move(rows, end)).values())

    async def _worker(self, worker_id: str) -> WorkerRow | None:
        point_id = worker_point_id(worker_id)
        found = (await self._state.get([point_id])).get(point_id)
        return None if found is None else row_of(found)

    def _next(self, stored: WorkerRow | None) -> Version:
        write = self._write()
        version = stored.version if stored else Version()
        return version.written(stamp=write.stamp, write_id=write.write_id)

    async def _swap_worker(self, row: WorkerRow, before: WorkerRow | None) -> bool:
        made = worker_points.point_of(row, self._numbers.marks())
        return bool(await self._state.swap([made], [before.version.write_id] if before else []))

    async def list_held(self, worker_id: str) -> Sequence[Record]:
        return [record_of(each) for each in await self._records.by_id(_held_by(worker_id))]

    async def record_stages(
        self, records: Sequence[Record], *, stage: str, progress: int
    ) -> Sequence[Record]:
        return await self._move_held(
            records,
            lambda held: moves.progressed(held, stage=stage, progress=progress, write=self._write()),
        )

    async def release_records(self, records: Sequence[Record]) -> int:
        return len(await self._move_held(records, lambda held: moves.release(held, self._write())))


def _held_by(worker_id: str) -> models.Filter:
    return where(equals("worker", worker_id), _PROCESSING)
