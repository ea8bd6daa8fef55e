"""Between workers and their points; one that is gone keeps its point until both databases have heard of it.

``returned`` is there while records of a worker that is gone may still be held here: while they are taken back, and
once a merge brought some. It is another one each time, so that whoever took back clears only what it has seen.
"""

from typing import Any
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.domain.identity import NAMESPACE, content_hash
from gristmill.domain.record import microseconds
from gristmill.ports.batches import Worker
from gristmill.ports.rows import WorkerRow
from gristmill.stores.qdrant.marks import Marks
from gristmill.stores.qdrant.points import TOKEN, Payload, equals, point
from gristmill.stores.qdrant.values import moment, version_of, version_text

WORKER = "worker"
GONE = equals("gone", "yes")
RETURNED = "returned"


def worker_point_id(worker_id: str) -> UUID:
    return UUID(bytes=bytes.fromhex(content_hash(f"{NAMESPACE}/worker/{worker_id}".encode()))[:16], version=5)


def point_of(row: WorkerRow, marks: Marks) -> models.PointStruct:
    """A new point of one that is gone may have returned."""
    worker = row.worker
    payload: dict[str, Any] = {
        "type": WORKER,
        "worker_id": worker.worker_id,
        "host_id": worker.host_id,
        "boot_id": worker.boot_id,
        "pid": worker.pid,
        "process_started": worker.process_started,
        "renewed_at": microseconds(worker.renewed_at),
        "lease_seconds": worker.lease_seconds,
        "version": version_text(row.version),
        **marks,
        TOKEN: row.version.write_id,
    }
    if row.gone:
        payload |= {"gone": "yes", RETURNED: uuid4().hex}
    return point(worker_point_id(worker.worker_id), payload)


def row_of(payload: Payload) -> WorkerRow:
    worker = Worker(
        worker_id=payload["worker_id"],
        host_id=payload["host_id"],
        boot_id=payload["boot_id"],
        pid=payload["pid"],
        process_started=payload["process_started"],
        renewed_at=moment(payload["renewed_at"]),
        lease_seconds=payload["lease_seconds"],
    )
    return WorkerRow(worker, version_of(payload["version"]), gone="gone" in payload)
