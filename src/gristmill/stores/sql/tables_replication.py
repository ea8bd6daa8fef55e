"""The tables of replication: what another database is owed, and what rows of the other tables do not say themselves."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table

from gristmill.stores.sql.columns import Id, Instant, Text
from gristmill.stores.sql.tables import metadata

# One row, made when it is first asked for: a copy of an empty database is another one.
replica = Table(
    "replica",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Id, nullable=False),
    Column("acting", Text, nullable=False),
    Column("peer", Text),
    # Whether triggers note what changes; until the first distrust they are not there and cost nothing.
    Column("paired", Boolean, nullable=False),
)

# The number of the database is the sum: transactions that run at the same time raise it in different rows.
numbers = Table(
    "numbers",
    metadata,
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

# What a transaction changed, until it is marked: at its end, or later if its process knew of no other database.
# ``xact`` is the transaction, so that none meets the rows of another; on SQLite, where one writes at a time, 0.
changed = Table(
    "changed",
    metadata,
    Column("xact", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("place", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# ``place`` is the key of a row among those of its kind here (``bodies``). A mark with a reason is set aside.
marks = Table(
    "marks",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("place", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("marked_at", Instant, nullable=False),
    Column("reason", Text),
    sqlite_with_rowid=False,
)
Index("ix_marks_sequence", marks.c.sequence)

# Of workers, batches, ends, documents and versions: the facts with their write ids, and the tombstones. Of the kind
# CONFLICT: writes that merges found lost, numbered.
CONFLICT = 0
facts = Table(
    "facts",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("place", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
