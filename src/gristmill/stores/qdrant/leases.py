"""Leases: workers, what they show and give back, and what is taken back from them.

Taking back moves the records first and forgets the worker last, so that a crash between leaves a worker whose
records are taken back again.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain import moves
from gristmill.domain.identity import NAMESPACE, content_hash
from gristmill.domain.record import Record, RecordStatus
from gristmill.ports.batches import Worker
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.batch_store import BatchStore
from gristmill.stores.qdrant.points import TOKEN, Payload, equals, has_id, point, where, within
from gristmill.stores.qdrant.record_points import id_of, record_of
from gristmill.stores.qdrant.values import instant, moment

_WORKER = "worker"


class Leases(BatchStore):
    async def renew_lease(self, worker: Worker) -> None:
        payload = {
            "type": _WORKER,
            "worker_id": worker.worker_id,
            "host_id": worker.host_id,
            "boot_id": worker.boot_id,
            "pid": worker.pid,
            "process_started": worker.process_started,
            "renewed_at": instant(worker.renewed_at),
            "lease_seconds": worker.lease_seconds,
            TOKEN: uuid4().hex,
        }
        await self._state.put([point(_worker_point(worker.worker_id), payload)])

    async def list_workers(self) -> Sequence[Worker]:
        return [_worker_of(each) for each in await self._state.by_id(schema.of_type(_WORKER))]

    async def take_back(self, worker_id: str, *, renewed_at: datetime) -> Sequence[Record]:
        worker = (await self._state.get([_worker_point(worker_id)])).get(_worker_point(worker_id))
        if worker is not None and worker["renewed_at"] > instant(renewed_at):
            return []
        rows = {id_of(each): each for each in await self._records.by_id(_held_by(worker_id))}
        begun = sum(record_of(each).begun for each in rows.values())

        def end(record: Record) -> Record | None:
            if record.worker != worker_id:
                return None
            return moves.end_lease(record, self._policy, self._write(), begun=begun)

        moved = await self._move(rows, end)
        await self._state.delete(
            where(has_id([_worker_point(worker_id)]), within("renewed_at", lte=instant(renewed_at)))
        )
        return list(moved.values())

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
    return where(equals("worker", worker_id), equals("status", RecordStatus.PROCESSING.value))


def _worker_point(worker_id: str) -> UUID:
    return UUID(bytes=bytes.fromhex(content_hash(f"{NAMESPACE}/worker/{worker_id}".encode()))[:16], version=5)


def _worker_of(payload: Payload) -> Worker:
    return Worker(
        worker_id=payload["worker_id"],
        host_id=payload["host_id"],
        boot_id=payload["boot_id"],
        pid=payload["pid"],
        process_started=payload["process_started"],
        renewed_at=moment(payload["renewed_at"]),
        lease_seconds=payload["lease_seconds"],
    )
