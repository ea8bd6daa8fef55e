"""Workers and their leases. Each function runs in one transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from gristmill.domain import moves
from gristmill.domain.record import Record
from gristmill.domain.retry import RetryPolicy
from gristmill.ports.batches import Worker
from gristmill.ports.rows import Kind, WorkerRow
from gristmill.stores.sql import changes, fact_rows, locks
from gristmill.stores.sql.changes import Change
from gristmill.stores.sql.record_store import DrawWrite
from gristmill.stores.sql.rows import COLUMNS, record_of
from gristmill.stores.sql.tables import records, workers
from gristmill.stores.sql.upserts import insert


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
    connection.execute(renewed.or_update(["worker_id"], values))


def forget(connection: Connection, worker_id: str) -> None:
    connection.execute(delete(workers).where(workers.c.worker_id == worker_id))


def holds(connection: Connection, worker_id: str) -> bool:
    """Whether a record is claimed by the worker."""
    held = select(records.c.no).where(records.c.worker == worker_id)
    return connection.execute(held.limit(1)).first() is not None


def hold(connection: Connection, worker_ids: Collection[str]) -> None:
    """Nobody else renews or ends the leases of these until the transaction ends."""
    if worker_ids:
        chosen = select(workers.c.worker_id).where(workers.c.worker_id.in_(worker_ids))
        connection.execute(chosen.order_by(workers.c.worker_id).with_for_update())


def list_workers(connection: Connection) -> list[Worker]:
    rows = connection.execute(select(workers).order_by(workers.c.worker_id)).all()
    found = [Worker(**row._mapping) for row in rows]  # noqa: SLF001 (SQLAlchemy's public name for it)
    facts = fact_rows.find_all(connection, Kind.WORKER, [worker.worker_id for worker in found])
    # A worker that is gone, but for which a claim came back, is there until that has ended.
    gone = {place for place, fact in facts.items() if isinstance(fact, WorkerRow) and fact.gone}
    return [each for each in found if each.worker_id not in gone or holds(connection, each.worker_id)]


def list_held(connection: Connection, worker_id: str) -> list[Record]:
    rows = connection.execute(select(*COLUMNS).where(records.c.worker == worker_id))
    return [record_of(row) for row in rows]


def take_back(
    connection: Connection, worker_id: str, *, renewed_at: datetime, policy: RetryPolicy, draw: DrawWrite
) -> list[Record]:
    is_worker = workers.c.worker_id == worker_id
    stored = connection.scalar(select(workers.c.renewed_at).where(is_worker).with_for_update())
    if stored is not None and stored > renewed_at:
        return []
    forget(connection, worker_id)
    held = [(row[0], record_of(row)) for row in _held_by(connection, worker_id)]
    freed = moves.end_leases([record for _, record in held], policy, draw)
    changes.write(
        connection,
        [Change(no, before=before, after=after) for (no, before), after in zip(held, freed, strict=True)],
    )
    return freed


def _held_by(connection: Connection, worker_id: str) -> Sequence[Sequence[Any]]:
    held = records.c.worker == worker_id
    if locks.needed(connection):
        found = connection.scalars(select(records.c.batch_id).where(held).distinct()).all()
        kept = locks.keep(connection, found)
        # What it claims of other batches meanwhile is not taken: it is not gone then.
        held &= records.c.batch_id.in_(kept)
    rows = select(*COLUMNS).where(held).order_by(records.c.no).with_for_update(key_share=True)
    return connection.execute(rows).all()
