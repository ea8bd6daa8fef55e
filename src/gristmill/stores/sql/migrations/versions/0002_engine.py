"""Held batches, the outbox of end events, numbered records, and how long each worker's lease is."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from alembic import op

from gristmill.stores.sql.migrations.columns import Text, only

revision = "0002"
down_revision = "0001"
LOST = (
    "which batches are held and why (their work goes on), end events that listeners were not told of yet, "
    "and the lease length of each worker"
)

# A name that begins with a digit cannot be imported otherwise.
first_schema: Any = import_module("gristmill.stores.sql.migrations.versions.0001_initial")


def upgrade() -> None:
    op.add_column("batches", sa.Column("hold_streak", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("hold_cause", Text))
    op.add_column("batches", sa.Column("held_since", sa.BigInteger()))
    op.add_column("batches", sa.Column("held_until", sa.BigInteger()))
    op.add_column("batches", sa.Column("hold_reason", Text))
    op.create_index("ix_batches_held", "batches", ["held_until"], **only("held_until IS NOT NULL"))
    op.create_table(
        "events",
        sa.Column("event_id", sa.LargeBinary(16), nullable=False),
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("body", Text, nullable=False),
        sa.Column("delivered_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
    )
    op.create_index(
        "ix_events_pending",
        "events",
        ["ended_at", "event_id"],
        **only("delivered_at IS NULL"),
    )
    op.create_index("ix_events_batch", "events", ["batch_id"])
    _rebuild_records(_create_records)
    op.add_column("workers", sa.Column("lease_seconds", sa.Float(), nullable=False, server_default="30"))


def downgrade() -> None:
    op.drop_column("workers", "lease_seconds")
    _rebuild_records(first_schema.create_records)
    op.drop_table("events")
    op.drop_index("ix_batches_held", "batches")
    for name in ("hold_reason", "held_until", "held_since", "hold_cause", "hold_streak"):
        op.drop_column("batches", name)


def _rebuild_records(create: Callable[[], None]) -> None:
    """Move the records, in the order they came, to a new table that has a small key of their own, or has it no more."""
    inspector = sa.inspect(op.get_bind())
    names = [column["name"] for column in inspector.get_columns("records") if column["name"] != "no"]
    before = sa.table("records_before", *map(sa.column, names))
    # Indexes and constraints keep their names when their table is renamed.
    for index in inspector.get_indexes("records"):
        if "duplicates_constraint" not in index:
            op.drop_index(str(index["name"]), "records")
    if op.get_bind().dialect.name == "postgresql":
        for constraint in ("pk_records", "uq_records_batch_id_item_id"):
            op.drop_constraint(constraint, "records")
    op.rename_table("records", "records_before")
    create()
    in_order = sa.select(before).order_by(before.c.created_at, before.c.record_id)
    op.execute(sa.insert(sa.table("records", *map(sa.column, names))).from_select(names, in_order))
    op.drop_table("records_before")


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("record_id", sa.LargeBinary(16), nullable=False),
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("item_id", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("source", Text),
        sa.Column("payload", Text, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("claim_order", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("stage", Text, nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retries_total", sa.Integer(), nullable=False),
        sa.Column("claim_id", Text),
        sa.Column("worker", Text),
        sa.Column("error_category", Text),
        sa.Column("error_message", Text),
        sa.Column("last_error_at", sa.BigInteger()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("result", Text),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("ending", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("write_id", Text, nullable=False),
        sa.Column("owed", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Boolean()),
        sa.Column("error_key", sa.LargeBinary(16)),
        sa.PrimaryKeyConstraint("no", name="pk_records"),
        sa.UniqueConstraint("batch_id", "item_id", name="uq_records_batch_id_item_id"),
    )
    op.create_index(
        "ix_records_batch_due",
        "records",
        ["batch_id", "kind", "claim_order", "record_id"],
        **only("due = 1", on_postgres="due"),
    )
    op.create_index(
        "ix_records_batch_waiting",
        "records",
        ["batch_id", "kind", "next_attempt_at"],
        **only("due = 0", on_postgres="NOT due"),
    )
    op.create_index(
        "ix_records_category",
        "records",
        ["batch_id", "error_category", "item_id", "status"],
        **only("error_category IS NOT NULL"),
    )
    op.create_index(
        "ix_records_due",
        "records",
        ["kind", "claim_order", "record_id"],
        **only("due = 1", on_postgres="due"),
    )
    op.create_index(
        "ix_records_error",
        "records",
        ["batch_id", "error_key", "last_error_at"],
        **only("error_key IS NOT NULL"),
    )
    op.create_index(
        "ix_records_failed",
        "records",
        ["batch_id", "error_category", "status", "last_error_at", "item_id"],
        **only("error_category IS NOT NULL"),
    )
    op.create_index("ix_records_status", "records", ["batch_id", "status", "item_id"])
    op.create_index(
        "ix_records_waiting", "records", ["kind", "next_attempt_at"], **only("due = 0", on_postgres="NOT due")
    )
    op.create_index("ix_records_worker", "records", ["worker"], **only("worker IS NOT NULL"))
