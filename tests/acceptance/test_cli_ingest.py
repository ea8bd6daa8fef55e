"""``gristmill ingest`` as a user runs it."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.shell import Shell

COLUMNS = {
    "batch_id",
    "batch_created_at",
    "batch_status",
    "total_files",
    "total_documents",
    "completed_count",
    "failed_count",
    "in_progress_count",
    "queued_count",
    "permanent_failures",
    "max_retries",
    "error_messages",
    "latest_error_at",
    "batch_started_at",
    "batch_completed_at",
    "processing_hours",
    "error_rate_percentage",
    "computed_status",
    "top_error_types",
    "cancelled_count",
}


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@dataclass(frozen=True)
class Mixed:
    """A folder with a good file, a bad one and one that is skipped, ingested once."""

    shell: Shell
    folder: Path
    batch_id: str
    report: dict


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed")
    folder, shell, batch_id = root / "files", Shell(root / "home"), str(uuid.uuid4())
    folder.mkdir()
    (folder / "good.txt").write_text("A kettle on a shelf.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 cut")
    os.mkfifo(folder / "pipe")
    report = shell.json("ingest", str(folder), "--batch-id", batch_id, "--meta", "shop=north", code=3)
    return Mixed(shell, folder, batch_id, report)


def test_json_is_one_document_with_the_status_view_and_each_loss(mixed):
    found = mixed.report
    assert found.keys() >= COLUMNS
    assert found["skipped"] == [
        {"source": f"{mixed.folder}/pipe", "reason": "It is a named pipe, not a file."}
    ]
    assert found["errors"][0]["category"] == "unreadable"
    assert found["errors"][0]["retry_command"].startswith("gristmill batches retry ")
    assert found["pruned"] == 0
    assert found["computed_status"] == "completed_with_errors"


def test_same_id_again_reports_each_failed_and_skipped_file_and_does_not_redo(mixed):
    again = mixed.shell.run("ingest", str(mixed.folder), "--batch-id", mixed.batch_id)
    assert again.code == 3
    assert again.stderr.startswith(f"Batch {mixed.batch_id}\n")
    assert "1 of 2 files completed, 1 failed" in again.stdout
    assert f"{mixed.folder}/broken.pdf  [unreadable]" in again.stdout
    assert f"{mixed.folder}/pipe  It is a named pipe" in again.stdout
    assert "gristmill search" in again.stdout
    assert "gristmill batches errors" in again.stdout
    view = mixed.shell.look("batches", "show", mixed.batch_id)
    assert view["batch_completed_at"] == mixed.report["batch_completed_at"]


def test_same_id_with_other_items_is_refused(mixed, folder):
    (folder / "c.txt").write_text("Another one.")
    refused = mixed.shell.json("ingest", str(folder), "--batch-id", mixed.batch_id, code=2)
    assert refused["error"]["kind"] == "batch_conflict"
    other = mixed.shell.look(
        "ingest", str(folder), "--batch-id", mixed.batch_id, "--collection", "else", code=2
    )
    assert other["error"]["kind"] == "other_collection"


def test_names_that_would_disturb_the_terminal_are_escaped(shell, folder):
    names = ["two\nlines.txt", "Счёт №5.txt", "🦊 fox.txt", "red\x1b[31m.txt"]
    for name in names:
        (folder / name).write_text("")
    with open(os.fsencode(folder) + b"/bad\xff.txt", "w") as file:
        file.write("")
    ran = shell.run("ingest", str(folder))
    assert ran.code == 1
    assert "two\\nlines.txt  [empty]" in ran.stdout
    assert "Счёт №5.txt  [empty]" in ran.stdout
    assert "🦊 fox.txt  [empty]" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert "bad%FF.txt  [empty]" in ran.stdout


def test_missing_path_creates_nothing(shell, folder):
    ran = shell.run("ingest", str(folder), str(folder / "nowhere"))
    assert ran.code == 2
    assert str(folder / "nowhere") in ran.stderr
    assert not shell.home.exists()


def test_dry_run_lists_and_creates_nothing(shell, folder):
    (folder / "a.txt").write_text("text")
    (folder / "b.log").write_text("text")
    found = shell.json("ingest", str(folder), "--pattern", "*.txt", "--dry-run")
    assert found == {"selected": [f"{folder}/a.txt"], "skipped": [], "next": None}
    assert not shell.home.exists()


def test_empty_folder_is_no_failure_but_a_warning(shell, folder):
    ran = shell.run("ingest", str(folder))
    assert ran.code == 0
    assert "Warning: there was no file to ingest" in ran.stderr


def test_accepted_batch_waits_for_a_worker_and_then_completes(shell, folder):
    (folder / "a.txt").write_text("A kettle on a shelf.")
    accepted = shell.json("ingest", str(folder), "--no-wait")
    assert accepted["total"] == 1
    batch_id = accepted["batch_id"]
    assert shell.look("batches", "show", batch_id)["queued_count"] == 1
    worked = shell.json("worker", "run-once")
    assert [(batch["batch_id"], batch["computed_status"]) for batch in worked["batches"]] == [
        (batch_id, "completed")
    ]
    assert "Nothing waits." in shell.run("worker", "run-once").stdout


def test_prune_deletes_documents_whose_file_is_gone(shell, folder):
    (folder / "a.txt").write_text("A kettle on a shelf.")
    (folder / "b.txt").write_text("A saddle in a barn.")
    shell.json("ingest", str(folder))
    (folder / "b.txt").unlink()
    found = shell.json("ingest", str(folder), "--prune")
    assert (found["pruned"], found["unchanged"]) == (1, 1)
    assert [each["source"] for each in shell.look("documents", "list")["documents"]] == [f"{folder}/a.txt"]


def test_batch_stops_beyond_its_tolerance(shell, folder):
    for number in range(25):
        (folder / f"{number:02}.txt").write_text("")
    found = shell.json("ingest", str(folder), "--max-error-rate", "10", "--name", "Имя", code=1)
    assert found["computed_status"] == "error"
