"""Steps of the schema: each can be undone exactly, and the script for developers writes the next."""

import importlib.util
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from sqlalchemy import Column, Integer, Table

from gristmill.ports.replication import Identity
from gristmill.stores.sql import migrations, opening, postgres_opening
from gristmill.stores.sql.database import AnySqlDatabase, SqlDatabase
from gristmill.stores.sql.postgres_database import PostgresDatabase
from gristmill.stores.sql.tables_documents import metadata
from tests.integration.test_sqlite_opening import schema
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.postgres_databases import PostgresHost

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_revision.py"
PAIRS = list(zip(opening.REVISIONS, opening.REVISIONS[1:], strict=False))
_SHAPE = """
    SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public' UNION ALL
    SELECT tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2, 3"""


@pytest.mark.parametrize(("older", "newer"), PAIRS)
def test_a_step_of_sqlite_is_undone_exactly(tmp_path: Path, older: str, newer: str):
    path = tmp_path / "gristmill.db"
    migrations.upgrade(path, application_id=opening.APPLICATION_ID, revision=older)
    before = schema(path)
    migrations.upgrade(path, application_id=opening.APPLICATION_ID, revision=newer)
    assert schema(path) != before
    opening.downgrade(path, older)
    assert opening.revision(path) == older
    assert schema(path) == before


def test_the_steps_of_postgresql_are_undone_and_done_again(postgres: PostgresHost):
    name = postgres.create()
    server = postgres.server(name)
    postgres_opening.bring_up_to_date(server)
    newest = postgres.execute(name, _SHAPE)
    postgres_opening.downgrade(server, opening.REVISIONS[0])
    assert postgres_opening.revision(server) == opening.REVISIONS[0]
    assert postgres.execute(name, _SHAPE) != newest
    postgres_opening.bring_up_to_date(server)
    assert postgres.execute(name, _SHAPE) == newest


async def test_steps_of_a_paired_sqlite_are_undone_and_done_again(tmp_path: Path):
    path, clock = tmp_path / "gristmill.db", ManualClock()
    opening.bring_up_to_date(path)
    newest = schema(path)
    await paired(SqlDatabase(path, clock=clock))
    assert schema(path) != newest
    opening.downgrade(path, opening.REVISIONS[0])
    await paired(SqlDatabase(path, clock=clock))


async def test_steps_of_a_paired_postgresql_are_undone_and_done_again(postgres: PostgresHost, tmp_path: Path):
    server = postgres.server(postgres.create())
    await paired(PostgresDatabase(server, clock=ManualClock(), folder=tmp_path))
    postgres_opening.downgrade(server, opening.REVISIONS[0])
    await paired(PostgresDatabase(server, clock=ManualClock(), folder=tmp_path))


async def paired(database: AnySqlDatabase) -> None:
    """What is written is owed from then on."""
    await database.open()
    await database.replication.distrust(Identity(uuid4(), 1))
    before = (await database.replication.count_owed()).rows
    await database.batches.create_batch(builders.new_batch(uuid4()))
    assert (await database.replication.count_owed()).rows == before + 1
    await database.close()


@pytest.mark.parametrize(("older", "newer"), PAIRS)
def test_every_step_says_what_undoing_it_loses(older: str, newer: str):
    (lost,) = migrations.lost(newer, older)
    assert len(lost) > 20


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_revision", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_next_step_is_written_from_the_tables(script: ModuleType, tmp_path: Path):
    extra = Table("extras", metadata, Column("no", Integer, primary_key=True))
    try:
        written = script.make("add extras", tmp_path)
    finally:
        metadata.remove(extra)
    assert written.name == f"{int(opening.HEAD) + 1:04}_add_extras.py"
    text = written.read_text()
    compile(text, written.name, "exec")
    assert f"down_revision = '{opening.HEAD}'" in text
    assert "op.create_table('extras'" in text
    assert "op.drop_table('extras')" in text
    assert text.count("    op.") == 2


def test_a_step_without_a_name_is_not_written(script: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert script.main([""]) == 2
    assert "NAME=" in capsys.readouterr().out
