"""Qdrant as the only database: ``gristmill`` as a user runs it, beside the same on SQLite."""

import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.qdrant_server import QdrantServer, shared_server
from tests.support.shell import Shell

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OF_ITS_OWN = {"batch_id", "batch_created_at", "latest_error_at", "batch_started_at", "batch_completed_at"}


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Shell]:
    """On SQLite and on Qdrant, both with the examples ingested."""
    folder = tmp_path_factory.mktemp("alone")
    sqlite, qdrant = Shell(folder / "sqlite"), _on_qdrant(folder / "qdrant")
    for shell in (sqlite, qdrant):
        assert shell.run("ingest", str(EXAMPLES)).code == 3  # One example is broken on purpose.
    return sqlite, qdrant


def test_report_of_the_examples_is_the_one_of_sqlite(shells: tuple[Shell, Shell]):
    reports = []
    for shell in shells:
        (batch,) = shell.look("batches", "list")["batches"]
        view = shell.look("batches", "show", batch["batch_id"])
        reports.append({key: view[key] for key in _columns(view)})
    assert reports[0] == reports[1]
    assert (reports[1]["completed_count"], reports[1]["failed_count"]) == (17, 1)
    assert not (shells[1].home / "gristmill.db").exists()


def test_work_submitted_to_qdrant_is_done_by_a_worker_elsewhere(tmp_path: Path):
    (tmp_path / "files").mkdir()
    for number in range(5):
        (tmp_path / "files" / f"{number}.txt").write_text(f"Kestrel number {number} sits on the fence.")
    prefix = f"test_{uuid4().hex[:12]}"
    submitter, worker = (_on_qdrant(tmp_path / name, prefix=prefix) for name in ("submitter", "worker"))
    assert submitter.run("ingest", str(tmp_path / "files"), "--no-wait").code == 0
    process = worker.start("worker", "start")
    try:
        (batch,) = submitter.look("batches", "list")["batches"]
        watched = submitter.run("batches", "watch", batch["batch_id"])
        assert watched.code == 0, watched
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert len(_results(submitter, "kestrel", "text")) == 5


def test_outage_and_wrong_key_each_say_what_to_do(tmp_path: Path):
    server = QdrantServer(tmp_path / "qdrant", api_key="right").start()
    try:
        shell = Shell(tmp_path / "home", QDRANT_URL=server.url, QDRANT_API_KEY="wrong")
        refused = shell.run("stats")
        assert refused.code == 1, refused
        assert "QDRANT_API_KEY" in refused.stderr
        assert "wrong" not in refused.stderr
        right = Shell(tmp_path / "home", QDRANT_URL=server.url, QDRANT_API_KEY="right", QDRANT_ONLY_MODE="1")
        assert right.run("stats").code == 0
    finally:
        server.stop()
    away = right.run("stats")
    assert away.code == 4
    assert server.url in away.stderr


def test_only_mode_without_a_server_is_refused(tmp_path: Path):
    refused = Shell(tmp_path / "home", QDRANT_ONLY_MODE="true").run("stats")
    assert refused.code == 2
    assert "QDRANT_URL" in refused.stderr


def _on_qdrant(home: Path, *, prefix: str | None = None) -> Shell:
    url, api_key = shared_server()
    variables = {"QDRANT_URL": url, "GRISTMILL_QDRANT_PREFIX": prefix or f"test_{uuid4().hex[:12]}"}
    return Shell(home, **variables, **({"QDRANT_API_KEY": api_key} if api_key else {}))


def _columns(view: dict[str, Any]) -> list[str]:
    return [
        key
        for key in view
        if key not in OF_ITS_OWN
        and key.endswith(
            (
                "count",
                "files",
                "documents",
                "status",
                "messages",
                "types",
                "retries",
                "failures",
                "percentage",
            )
        )
    ]


def _results(shell: Shell, question: str, kind: str) -> list[dict[str, Any]]:
    return shell.look("search", question, "--type", kind, "--limit", "10")["results"]
