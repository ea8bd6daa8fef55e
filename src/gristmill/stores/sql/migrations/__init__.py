"""The history of the schema, one file a step under ``versions``, applied by Alembic in one transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, NullPool, create_engine

from gristmill.stores.sql.sqlite import BUSY_SECONDS, begin_with


def apply(connection: Connection, *, revision: str = "head", version_table: str = "alembic_version") -> None:
    """Apply every missing step up to the revision in the transaction of the connection."""
    config = Config()
    config.set_main_option("script_location", "gristmill.stores.sql:migrations")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = version_table
    command.upgrade(config, revision)


def upgrade(path: Path, *, application_id: int, revision: str = "head") -> None:
    """Apply every missing step up to the revision to the SQLite file, or none, and mark it as ours."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )
    begin_with(engine, "BEGIN IMMEDIATE")
    with engine.begin() as connection:
        apply(connection, revision=revision)
        connection.exec_driver_sql(f"PRAGMA application_id = {application_id:d}")
