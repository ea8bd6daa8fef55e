"""What replication keeps: which copy this is, what it owes, and facts with their write ids."""

import sqlalchemy as sa
from alembic import op

from gristmill.stores.sql.migrations.columns import Text

revision = "0003"
down_revision = "0002"
LOST = (
    "what is owed to another database, tombstones that it does not know of yet, and which of the two served last "
    "(paired again, everything is sent again)"
)


def upgrade() -> None:
    op.create_table(
        "replica",
        sa.Column("no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("incarnation", sa.LargeBinary(16), nullable=False),
        sa.Column("acting", Text, nullable=False),
        sa.Column("peer", Text),
        sa.Column("paired", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_replica"),
    )
    op.create_table(
        "numbers",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_numbers"),
    )
    op.create_table(
        "changed",
        sa.Column("xact", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("place", Text, nullable=False),
        sa.PrimaryKeyConstraint("xact", "kind", "place", name="pk_changed"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "marks",
        sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("place", Text, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("marked_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", Text),
        sa.PrimaryKeyConstraint("kind", "place", name="pk_marks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_marks_sequence", "marks", ["sequence"])
    op.create_table(
        "facts",
        sa.Column("kind", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("place", Text, nullable=False),
        sa.Column("token", Text, nullable=False),
        sa.Column("body", Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "place", name="pk_facts"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    _drop_triggers()
    for table in ("facts", "marks", "changed", "numbers", "replica"):
        op.drop_table(table)


def _drop_triggers() -> None:
    """Those of a database that was paired with another one."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        names = "SELECT proname FROM pg_proc WHERE proname LIKE 'note\\_%%' AND pronamespace = current_schema()::regnamespace"
        for name in connection.exec_driver_sql(names).scalars().all():
            op.execute(f"DROP FUNCTION {name} CASCADE")
        return
    names = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    for name in connection.exec_driver_sql(names).scalars().all():
        op.execute(f"DROP TRIGGER {name}")
