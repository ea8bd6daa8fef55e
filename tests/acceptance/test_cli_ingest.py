"""``gristmill ingest`` as a user runs it."""

import os
import uuid

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


def test_report_names_each_failed_and_skipped_file_and_the_next_steps(shell, folder):
    (folder / "good.txt").write_text("A kettle on a shelf.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 cut")
    os.mkfifo(folder / "pipe")
    ran = shell.run("ingest", str(folder))
    assert ran.code == 3
    assert "1 of 2 files completed, 1 failed" in ran.stdout
    assert f"{folder}/broken.pdf  [unreadable]" in ran.stdout
    assert f"{folder}/pipe  It is a named pipe" in ran.stdout
    assert "gristmill search" in ran.stdout
    assert "gristmill batches errors" in ran.stdout
    assert ran.stderr.startswith("Batch ")


def test_json_is_one_document_with_the_status_view_and_each_loss(shell, folder):
    (folder / "good.txt").write_text("A kettle on a shelf.")
    (folder / "empty.txt").write_text("")
    os.symlink("/nowhere", folder / "link")
    found = shell.json("ingest", str(folder), "--meta", "shop=north", code=3)
    assert found.keys() >= COLUMNS
    assert found["skipped"][0]["source"] == f"{folder}/link"
    assert found["errors"][0]["category"] == "empty"
    assert found["errors"][0]["retry_command"].startswith("gristmill batches retry ")
    assert found["pruned"] == 0
    assert found["computed_status"] == "completed_with_errors"


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


def test_same_id_again_reports_and_does_not_redo_and_refuses_other_items(shell, folder):
    batch_id = str(uuid.uuid4())
    (folder / "a.txt").write_text("A kettle on a shelf.")
    (folder / "b.txt").write_text("")
    first = shell.json("ingest", str(folder), "--batch-id", batch_id, code=3)
    again = shell.json("ingest", str(folder), "--batch-id", batch_id, code=3)
    assert again["batch_completed_at"] == first["batch_completed_at"]
    (folder / "c.txt").write_text("Another one.")
    refused = shell.json("ingest", str(folder), "--batch-id", batch_id, code=2)
    assert refused["error"]["kind"] == "batch_conflict"
    other = shell.json("ingest", str(folder), "--batch-id", batch_id, "--collection", "else", code=2)
    assert other["error"]["kind"] == "other_collection"


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
