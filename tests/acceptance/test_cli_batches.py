"""Batches and documents through the command line: errors, retries, cancels, seals, deletes."""

import asyncio
import shlex
import uuid
from dataclasses import replace

import pytest

from gristmill import settings, wiring
from gristmill.domain.batch import NewBatch
from gristmill.domain.record import Item
from gristmill.engine.liveness import submitter_text, this_process
from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my files"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"Letter {name} stands on a shelf.")
    return folder


def words(command: str, *more: str) -> list[str]:
    """A printed command as a shell would take it, and ``more`` options for it."""
    program, *arguments = shlex.split(command)
    assert program == "gristmill"
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], *more, *arguments[end:]]


def test_errors_print_the_command_that_retries_them(shell, folder):
    (folder / "b.txt").write_text("")
    batch_id = shell.json("ingest", str(folder), code=3)["batch_id"]
    failed = shell.json("batches", "results", batch_id, "--status", "failed", "--category", "empty")
    assert [item["item_id"] for item in failed["results"]] == [f"{folder}/b.txt"]
    assert f"{folder}/b.txt" in shell.run("batches", "results", batch_id).stdout
    unhelped = shell.run("batches", "retry", batch_id)
    assert (unhelped.code, "--include-permanent was not given" in unhelped.stderr) == (3, True)
    shown = shell.run("batches", "errors", batch_id).stdout
    retry = next(line for line in shown.splitlines() if "batches retry" in line).split("Retry:")[1].strip()
    assert [group["retry_command"] for group in shell.json("batches", "errors", batch_id)["errors"]] == [
        retry
    ]
    (folder / "b.txt").write_text("Now it has words.")
    assert shell.json(*words(retry))["computed_status"] == "completed"


def test_results_come_in_pages(shell, folder):
    batch_id = shell.look("ingest", str(folder), "--no-wait")["batch_id"]
    first = shell.look("batches", "results", batch_id, "--limit", "2")
    rest = shell.look("batches", "results", batch_id, "--limit", "2", "--after", first["next"])
    assert (len(first["results"]), len(rest["results"]), rest["next"]) == (2, 1, None)


def test_cancelled_batch_stays_cancelled_and_ends_with_5(shell, folder):
    batch_id = shell.look("ingest", str(folder), "--no-wait")["batch_id"]
    assert shell.json("batches", "cancel", batch_id)["cancelled"] == 3
    assert shell.json("ingest", str(folder), "--batch-id", batch_id, code=5)["cancelled_count"] == 3
    assert shell.json("batches", "watch", batch_id, code=5)["computed_status"] == "cancelled"


def test_watch_says_that_nobody_works_and_follows_to_the_end(shell, folder):
    batch_id = shell.look("ingest", str(folder), "--no-wait")["batch_id"]
    watching = shell.start("batches", "watch", batch_id)
    assert b"0 of 3" in watching.stderr.readline()
    assert b"gristmill worker run-once" in watching.stderr.readline()
    assert shell.run("worker", "run-once").code == 0
    stdout, _ = watching.communicate(timeout=60)
    assert (watching.returncode, b"3 of 3 files completed" in stdout) == (0, True)


async def interrupt_submission(shell, folder) -> str:
    """A batch as a submitter that died after its first item leaves it."""
    batch_id = uuid.uuid4()
    core = wiring.build(settings.load(home=shell.home, embedder="wordllama"))
    await core.open()
    try:
        died = replace(this_process(now=core.clock.now()), process_started=1.0)
        await core.database.documents.open_collection("default", core.embedding)
        await core.database.batches.create_batch(
            NewBatch(
                batch_id,
                kind="documents",
                collection="default",
                options={"paths": [str(folder)], "patterns": ["*.txt"]},
                submitter=submitter_text(died),
            )
        )
        source = str(folder / "a.txt")
        await core.database.batches.create_processing_records(batch_id, [Item(source, "documents", source)])
    finally:
        await core.close()
    return str(batch_id)


def test_interrupted_submission_goes_on_by_the_command_it_prints(shell, folder):
    batch_id = asyncio.run(interrupt_submission(shell, folder))
    shown = shell.run("batches", "show", batch_id).stdout
    assert "submission interrupted" in shown
    again, _ = shell.look("batches", "show", batch_id)["ways_out"]
    assert again in shown
    problems = shell.json("doctor", code=1)["problems"]
    assert [problem["command"] for problem in problems] == [
        f"gristmill batches seal {batch_id}",
        "gristmill worker run-once",
    ]
    (folder / "other.log").write_text("Not of the pattern.")
    ran = shell.run(*words(again, "--json"))
    assert (ran.code, ran.json["completed_count"]) == (0, 3)


def test_interrupted_submission_can_be_sealed_instead(shell, folder):
    batch_id = asyncio.run(interrupt_submission(shell, folder))
    assert "submission interrupted" in shell.run("batches", "list").stdout
    _, seal = shell.look("batches", "show", batch_id)["ways_out"]
    assert shell.json(*words(seal))["total_files"] == 1
    assert shell.run("worker", "run-once").code == 0
    assert shell.look("batches", "show", batch_id)["computed_status"] == "completed"


def test_cleanup_counts_first_and_never_deletes_documents(shell, folder):
    shell.look("ingest", str(folder), "--no-wait")
    shell.json("worker", "run-once")
    counted = shell.json("batches", "cleanup", "--older-than", "0s")
    assert counted == {"batches": 1, "records": 3, "deleted": False}
    assert (
        "Deleted 1 batch with 3 records"
        in shell.run("batches", "cleanup", "--older-than", "0s", "--yes").stdout
    )
    assert shell.look("batches", "list")["batches"] == []
    assert len(shell.look("documents", "list")["documents"]) == 3


def test_delete_asks_on_a_terminal_and_needs_yes_elsewhere(shell, folder):
    assert shell.run_in_terminal("ingest", str(folder)).code == 0
    first, second, third = (each["document_id"] for each in shell.look("documents", "list")["documents"])
    assert shell.json("documents", "delete", first, code=2)["error"]["kind"] == "usage"
    declined = shell.run_in_terminal("documents", "delete", first, typed="n\n")
    assert (declined.code, "Nothing was changed." in declined.stdout) == (5, True)
    assert shell.run_in_terminal("documents", "delete", first, typed="y\n").code == 0
    assert shell.json("documents", "delete", second, "--yes")["deleted"] == 1
    gone = shell.look("documents", "delete", third, first, "--yes", code=2)
    assert gone["error"]["kind"] == "document_not_found"
    assert [each["document_id"] for each in shell.look("documents", "list")["documents"]] == [third]
