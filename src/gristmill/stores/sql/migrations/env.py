"""Alembic's way in: it runs on the connection, and in the transaction, that it is given."""

from alembic import context

given = context.config.attributes
context.configure(
    connection=given["connection"],
    version_table=given["version_table"],
    target_metadata=given.get("metadata"),
)
with context.begin_transaction():
    context.run_migrations()
