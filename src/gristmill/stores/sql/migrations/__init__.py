"""The history of the schema, one file a step under ``versions``, applied by Alembic in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, NullPool, create_engine

from gristmill.stores.sql.sqlite import BUSY_SECONDS, begin_with

SQLITE_VERSION_TABLE = "alembic_version"


def apply(
    connection: Connection, *, revision: str = "head", version_table: str = SQLITE_VERSION_TABLE
) -> None:
    """Apply every missing step up to the revision in the transaction of the connection."""
    command.upgrade(config_of(connection, version_table), revision)


def undo(connection: Connection, *, revision: str, version_table: str = SQLITE_VERSION_TABLE) -> None:
    """Undo every step after the revision in the transaction of the connection; ``lost`` says what that loses."""
    command.downgrade(config_of(connection, version_table), revision)


def lost(newer: str, older: str) -> list[str]:
    """What undoing the steps after ``older`` loses, newest step first."""
    steps = ScriptDirectory.from_config(_scripts()).iterate_revisions(newer, older)
    return [step.module.LOST for step in steps]


def upgrade(path: Path, *, application_id: int, revision: str = "head") -> None:
    """Apply every missing step up to the revision to the SQLite file, or none, and mark it as ours."""
    with sqlite_transaction(path) as connection:
        apply(connection, revision=revision)
        connection.exec_driver_sql(f"PRAGMA application_id = {application_id:d}")


def downgrade(path: Path, *, revision: str) -> None:
    """Undo every step after the revision in the SQLite file, or none."""
    with sqlite_transaction(path) as connection:
        undo(connection, revision=revision)


@contextmanager
def sqlite_transaction(path: Path) -> Iterator[Connection]:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )
    begin_with(engine, "BEGIN IMMEDIATE")
    with engine.begin() as connection:
        yield connection


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", "gristmill.stores.sql:migrations")
    return config


def config_of(connection: Connection, version_table: str = SQLITE_VERSION_TABLE) -> Config:
    config = _scripts()
    config.attributes["connection"] = connection
    config.attributes["version_table"] = version_table
    return config
