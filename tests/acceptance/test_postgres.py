"""The command on a PostgreSQL server, as a user runs it: only POSTGRESQL_URL is set."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.postgres_databases import PostgresHost
from tests.support.shell import Shell
from tests.support.ssh_server import DATABASE_HOST, USER, SshServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def url(postgres: PostgresHost) -> Iterator[str]:
    url = postgres.server(postgres.create()).url
    return url.render_as_string(hide_password=False)


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Shell:
    return Shell(tmp_path / "home", POSTGRESQL_URL=url)


def test_examples_are_ingested_and_found(shell: Shell, tmp_path: Path):
    ingested = shell.run("ingest", str(EXAMPLES), "--json")
    assert ingested.code == 3, ingested.stderr
    here = Shell(tmp_path / "sqlite").run("ingest", str(EXAMPLES), "--json").json
    counts = ["total_documents", "completed_count", "failed_count", "computed_status"]
    assert [ingested.json[name] for name in counts] == [here[name] for name in counts]
    shown = shell.run("batches", "show", ingested.json["batch_id"], "--json")
    assert shown.json["computed_status"] == "completed_with_errors"
    assert not (shell.home / "gristmill.db").exists()
    for mode in ("vector", "text", "hybrid"):
        asked = ["search", "how long does tile adhesive take to dry", "--type", mode, "--json"]
        found, expected = shell.run(*asked).json, Shell(tmp_path / "sqlite").run(*asked).json
        assert (found["served_by"], found["degraded"]) == ("postgresql", False)
        sources = [hit["source"] for hit in found["results"]]
        assert sources == [hit["source"] for hit in expected["results"]]
        assert [hit["score"] for hit in found["results"]] == pytest.approx(
            [hit["score"] for hit in expected["results"]], abs=1e-4
        )
    assert shell.run("doctor").code == 0


def test_work_submitted_is_done_by_a_worker_elsewhere(shell: Shell, tmp_path: Path, url: str):
    submitted = shell.run("ingest", str(EXAMPLES / "faq.html"), "--no-wait", "--json")
    assert submitted.code == 0, submitted.stderr
    elsewhere = Shell(tmp_path / "elsewhere", POSTGRESQL_URL=url)
    assert elsewhere.run("worker", "run-once").code == 0
    shown = shell.run("batches", "show", submitted.json["batch_id"], "--json")
    assert shown.json["computed_status"] == "completed"


def test_the_server_is_reached_through_an_ssh_server(shell: Shell, url: str, tmp_path: Path):
    ssh = SshServer(tmp_path / "ssh").start()
    settings = {
        "POSTGRESQL_URL": make_url(url).set(host=DATABASE_HOST).render_as_string(hide_password=False),
        "ENABLE_SSH_TUNNEL": "true",
        "SSH_TUNNEL_HOST": ssh.host,
        "SSH_TUNNEL_PORT": str(ssh.port),
        "SSH_TUNNEL_USER": USER,
        "SSH_TUNNEL_KEY": str(ssh.key),
        "SSH_TUNNEL_KNOWN_HOSTS": str(ssh.known_hosts),
    }
    try:
        assert shell.run("db", "upgrade", **settings).code == 0
        stats = shell.run("stats", **settings)
        assert stats.code == 0, stats.stderr
        unknown = shell.run("stats", **settings | {"GRISTMILL_SSH_TUNNEL_KNOWN_HOSTS": "/dev/null"})
        assert unknown.code == 1
        assert ssh.fingerprint in unknown.stderr
    finally:
        ssh.stop()
    away = shell.run("stats", **settings)
    assert away.code == 4
    assert f"the tunnel through SSH server {USER}@127.0.0.1:{ssh.port}" in away.stderr


def test_the_password_is_shown_nowhere(shell: Shell, url: str):
    shown = shell.run("config", "show", "--json")
    (setting,) = [each for each in shown.json["settings"] if each["name"] == "postgresql_url"]
    assert setting["origin"] == "environment POSTGRESQL_URL"
    assert ":***@127.0.0.1" in setting["value"]
    assert "s3cret" not in shown.stdout
    wrong = shell.run("stats", GRISTMILL_POSTGRESQL_URL=url.replace("s3cret", "0ther"))
    assert wrong.code == 1
    assert "password authentication failed" in wrong.stderr
    assert "0ther" not in wrong.stderr
    assert "Correct the user and password" in wrong.stderr


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("mysql://me:hidden@host/name", "postgresql://"),
        ("postgresql://me:hidden@host", "a database"),
        ("postgresql://me:hidden@host:port/name", "port"),
        ("postgresql://host/name?password=hidden", "before the host"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_repeating_it(shell: Shell, bad: str, said: str):
    refused = shell.run("stats", GRISTMILL_POSTGRESQL_URL=bad)
    assert refused.code == 2
    assert said in refused.stderr
    assert "hidden" not in refused.stderr


def test_a_server_that_is_away_is_a_temporary_outage(shell: Shell):
    away = shell.run("stats", POSTGRESQL_URL="postgresql://me:hidden@127.0.0.1:1/name")
    assert away.code == 4
    assert "Database 'postgresql' is unavailable" in away.stderr
    assert "hidden" not in away.stderr
    problems = shell.run("doctor", "--json", POSTGRESQL_URL="postgresql://me:hidden@127.0.0.1:1/name")
    assert problems.code == 1
    (problem,) = problems.json["problems"]
    assert problem["what"] == "The PostgreSQL database cannot be opened."
