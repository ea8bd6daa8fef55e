"""Held batches, the outbox of end events, and how long each worker's lease is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("batches", sa.Column("hold_streak", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("hold_cause", sa.Text()))
    op.add_column("batches", sa.Column("held_since", sa.BigInteger()))
    op.add_column("batches", sa.Column("held_until", sa.BigInteger()))
    op.add_column("batches", sa.Column("hold_reason", sa.Text()))
    op.create_index(
        "ix_batches_held", "batches", ["held_until"], sqlite_where=sa.text("held_until IS NOT NULL")
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.LargeBinary(16), nullable=False),
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
    )
    op.create_index(
        "ix_events_pending",
        "events",
        ["ended_at", "event_id"],
        sqlite_where=sa.text("delivered_at IS NULL"),
    )
    op.create_index("ix_events_batch", "events", ["batch_id"])
    op.add_column("workers", sa.Column("lease_seconds", sa.Float(), nullable=False, server_default="30"))
