"""The tables of batches, their records and the workers. Documents have theirs in ``tables_documents``."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    false,
    true,
)

from gristmill.stores.sql.columns import Id, Instant, Json, Text, only

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text),
    Column("collection", Text),
    Column("priority", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("total_files", BigInteger, nullable=False),
    Column("max_error_rate", Float),
    Column("error_message", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("sealed_at", Instant),
    Column("started_at", Instant),
    Column("completed_at", Instant),
    Column("submitter", Text),
    Column("options", Json, nullable=False),
    # Whether one common cause holds it (``domain.hold``).
    Column("hold_streak", Integer, nullable=False, server_default="0"),
    Column("hold_cause", Text),
    Column("held_since", Instant),
    Column("held_until", Instant),
    Column("hold_reason", Text),
    # What follows is derived from the records, in the transactions that change them (protocol B1).
    Column("pending", BigInteger, nullable=False),
    Column("processing", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("completed_microseconds", BigInteger, nullable=False),
    Column("first_started_at", Instant),
    Column("last_ended_at", Instant),
)
Index("ix_batches_created", batches.c.created_at.desc(), batches.c.batch_id)
Index("ix_batches_open", batches.c.batch_id, **only(batches.c.completed_at.is_(None)))
Index("ix_batches_held", batches.c.held_until, **only(batches.c.held_until.is_not(None)))
Index("ix_batches_completed", batches.c.completed_at, **only(batches.c.completed_at.is_not(None)))

records = Table(
    "records",
    metadata,
    # Local to this database. A small key in the order of arrival: a random one costs more than all other indexes.
    Column("no", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("record_id", Id, nullable=False),
    Column("batch_id", Id, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text),
    Column("payload", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("claim_order", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("progress", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retries_total", Integer, nullable=False),
    Column("claim_id", Text),
    Column("worker", Text),
    Column("error_category", Text),
    Column("error_message", Text),
    Column("last_error_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("result", Text),
    Column("tombstone", Boolean, nullable=False),
    Column("round", Integer, nullable=False),
    Column("ending", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("write_id", Text, nullable=False),
    Column("owed", Boolean, nullable=False),
    # Local to this database, part of no version: of pending records, whether they were seen to be due, so that
    # claims need not read those that wait; null for the others.
    Column("due", Boolean),
    # Local too: the row of error_types that counts the record.
    Column("error_key", LargeBinary(16)),
    UniqueConstraint("batch_id", "item_id"),
)
# Conditions of partial indexes; a query uses the index only if it says the same.
DUE = records.c.due == true()
WAITING = records.c.due == false()

Index("ix_records_status", records.c.batch_id, records.c.status, records.c.item_id)
Index(
    "ix_records_due",
    records.c.kind,
    records.c.claim_order,
    records.c.record_id,
    **only(DUE),
)
Index(
    "ix_records_batch_due",
    records.c.batch_id,
    records.c.kind,
    records.c.claim_order,
    records.c.record_id,
    **only(DUE),
)
Index("ix_records_waiting", records.c.kind, records.c.next_attempt_at, **only(WAITING))
Index(
    "ix_records_batch_waiting",
    records.c.batch_id,
    records.c.kind,
    records.c.next_attempt_at,
    **only(WAITING),
)
Index("ix_records_worker", records.c.worker, **only(records.c.worker.is_not(None)))
Index(
    "ix_records_category",
    records.c.batch_id,
    records.c.error_category,
    records.c.item_id,
    records.c.status,
    **only(records.c.error_category.is_not(None)),
)
Index(
    "ix_records_failed",
    records.c.batch_id,
    records.c.error_category,
    records.c.status,
    records.c.last_error_at,
    records.c.item_id,
    **only(records.c.error_category.is_not(None)),
)
Index(
    "ix_records_error",
    records.c.batch_id,
    records.c.error_key,
    records.c.last_error_at,
    **only(records.c.error_key.is_not(None)),
)

# Failed records of a batch by category and attempts: a few rows, however many records failed.
failures = Table(
    "failures",
    metadata,
    Column("batch_id", Id, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("attempts", Integer, primary_key=True),
    Column("records", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Records of a batch that carry an error now, whatever their status, by category and message.
error_types = Table(
    "error_types",
    metadata,
    Column("batch_id", Id, primary_key=True),
    Column("error_key", LargeBinary(16), primary_key=True),
    Column("category", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("latest_at", Instant, nullable=False),
)
Index(
    "ix_error_types_records",
    error_types.c.batch_id,
    error_types.c.records.desc(),
    error_types.c.category,
    error_types.c.message,
)
Index("ix_error_types_latest", error_types.c.batch_id, error_types.c.latest_at)

# The outbox: ends of batches that listeners are to be told of, written with the end (protocol B2).
events = Table(
    "events",
    metadata,
    Column("event_id", Id, primary_key=True),
    Column("batch_id", Id, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("body", Json, nullable=False),
    Column("delivered_at", Instant),
)
Index("ix_events_pending", events.c.ended_at, events.c.event_id, **only(events.c.delivered_at.is_(None)))
Index("ix_events_batch", events.c.batch_id)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("host_id", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    Column("renewed_at", Instant, nullable=False),
    Column("lease_seconds", Float, nullable=False, server_default="30"),
)
