"""Workers and their leases. Each function runs in one transaction."""

from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from gristmill.domain import moves
from gristmill.domain.record import Record
from gristmill.domain.retry import RetryPolicy
from gristmill.ports.batches import Worker
from gristmill.stores.sql import changes
from gristmill.stores.sql.changes import Change
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.rows import COLUMNS, record_of
from gristmill.stores.sql.tables import records, workers


def renew(connection: Connection, worker: Worker) -> None:
    values = {
        "worker_id": worker.worker_id,
        "host_id": worker.host_id,
        "boot_id": worker.boot_id,
        "pid": worker.pid,
        "process_started": worker.process_started,
        "renewed_at": worker.renewed_at,
        "lease_seconds": worker.lease_seconds,
    }
    renewed = insert(workers).values(values)
    connection.execute(renewed.on_conflict_do_update(index_elements=["worker_id"], set_=values))


def list_workers(connection: Connection) -> list[Worker]:
    rows = connection.execute(select(workers).order_by(workers.c.worker_id))
    return [Worker(**row._mapping) for row in rows]  # noqa: SLF001 (SQLAlchemy's public name for it)


def take_back(
    connection: Connection, worker_id: str, *, renewed_at: datetime, policy: RetryPolicy, draw: DrawWrite
) -> list[Record]:
    is_worker = workers.c.worker_id == worker_id
    renewed = select(workers.c.worker_id).where(is_worker, workers.c.renewed_at > renewed_at)
    if connection.execute(renewed).first() is not None:
        return []
    connection.execute(delete(workers).where(is_worker))
    held = [
        (row[0], record_of(row))
        for row in connection.execute(select(*COLUMNS).where(records.c.worker == worker_id))
    ]
    freed = moves.end_leases([record for _, record in held], policy, draw)
    changes.write(
        connection,
        [Change(no, before=before, after=after) for (no, before), after in zip(held, freed, strict=True)],
    )
    return freed
