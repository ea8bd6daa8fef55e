"""``gristmill db`` on both dialects: what the schema is at, forward, and back with what is stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.stores.sql.opening import HEAD, REVISIONS
from tests.support.postgres_databases import PostgresHost
from tests.support.shell import Shell

FAQ = Path(__file__).resolve().parents[2] / "examples" / "faq.html"


@pytest.fixture(params=["sqlite", "postgresql"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresHost) -> Iterator[Shell]:
    if request.param == "sqlite":
        return Shell(tmp_path / "home")
    url = postgres.server(postgres.create()).url.render_as_string(hide_password=False)
    return Shell(tmp_path / "home", POSTGRESQL_URL=url)


def test_a_new_database_has_no_revision_until_it_is_upgraded(shell: Shell):
    found = shell.look("db", "current")
    assert (found["revision"], found["newest"], found["up_to_date"]) == (None, HEAD, False)
    assert not (shell.home / "gristmill.db").exists()
    assert shell.look("db", "upgrade")["to"] == HEAD
    again = shell.look("db", "upgrade")
    assert (again["from"], again["to"]) == (HEAD, HEAD)
    assert shell.look("db", "current")["up_to_date"] is True
    assert "s3cret" not in shell.run("db", "current").stdout


def test_back_and_forward_again_keeps_the_records(shell: Shell):
    submitted = shell.look("ingest", str(FAQ), "--no-wait")
    described = shell.look("db", "downgrade", REVISIONS[0])
    assert (described["to"], described["downgraded"]) == (REVISIONS[0], False)
    assert len(described["lost"]) == len(REVISIONS) - 1
    assert shell.look("db", "current")["revision"] == HEAD
    done = shell.look("db", "downgrade", REVISIONS[0], "--yes")
    assert (done["from"], done["to"], done["downgraded"]) == (HEAD, REVISIONS[0], True)
    assert shell.look("db", "current")["revision"] == REVISIONS[0]
    assert shell.look("db", "downgrade", code=2)["error"]["kind"] == "revision"
    assert shell.run("worker", "run-once").code == 0
    assert shell.look("batches", "show", submitted["batch_id"])["completed_count"] == 1
    assert shell.look("db", "current")["revision"] == HEAD
    assert shell.run("doctor").code == 0


def test_without_auto_migrate_an_older_schema_is_left_alone(shell: Shell):
    off = {"AUTO_MIGRATE": "false"}
    fresh = shell.run("stats", **off)
    assert (fresh.code, "gristmill db upgrade" in fresh.stderr) == (1, True)
    shell.look("db", "upgrade")
    assert shell.run("stats", **off).code == 0
    step_back = shell.run("db", "downgrade", "--yes")
    assert step_back.code == 0
    assert "Lost:" in step_back.stdout
    refused = shell.run("stats", **off)
    assert refused.code == 1
    assert f"schema {REVISIONS[-2]}" in refused.stderr
    assert "gristmill db upgrade" in refused.stderr
    assert shell.look("db", "current")["revision"] == REVISIONS[-2]
    assert shell.run("stats", GRISTMILL_AUTO_MIGRATE="true", **off).code == 0
    assert shell.look("db", "current")["revision"] == HEAD


@pytest.mark.parametrize("unknown", ["0000", "nonsense", HEAD])
def test_a_revision_that_is_not_before_this_one_is_refused(tmp_path: Path, unknown: str):
    shell = Shell(tmp_path / "home")
    shell.look("db", "upgrade")
    refused = shell.look("db", "downgrade", unknown, "--yes", code=2)
    assert f"'{unknown}' is no revision before {HEAD}" in refused["error"]["message"]
    assert shell.look("db", "current")["revision"] == HEAD


def test_a_database_without_tables_cannot_go_back(tmp_path: Path):
    refused = Shell(tmp_path / "home").look("db", "downgrade", "--yes", code=2)
    assert "no revision" in refused["error"]["message"]


def test_qdrant_has_no_revisions(tmp_path: Path):
    shell = Shell(tmp_path / "home", QDRANT_URL="http://127.0.0.1:1")
    refused = shell.look("db", "current", code=1)
    assert "no schema revisions" in refused["error"]["message"]
