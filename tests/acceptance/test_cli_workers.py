"""``worker start`` and ``run-once`` as an operator uses them."""

import signal
import time
import uuid

import pytest

from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "home", GRISTMILL_SNOOZE_SECONDS="2")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"Note {number} on kettles.\n")
    return folder


def wait_for_end(shell, batch_id, seconds=60):
    deadline = time.monotonic() + seconds
    while shell.look("batches", "show", batch_id)["batch_status"] != "completed":
        assert time.monotonic() < deadline, "The worker did not finish it."
        time.sleep(0.2)


def test_worker_that_was_started_takes_what_is_submitted_until_it_is_told_to_stop(shell, folder):
    first = shell.run("ingest", str(folder), "--no-wait")
    assert "No worker is alive" in first.stdout
    assert "gristmill worker start" in first.stdout
    worker = shell.start("worker", "start")
    try:
        deadline = time.monotonic() + 60
        while not (accepted := shell.json("ingest", str(folder), "--no-wait"))["worker_alive"]:
            assert time.monotonic() < deadline, "The worker did not say that it lives."
        wait_for_end(shell, accepted["batch_id"])
        worker.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        _, stderr = worker.communicate(timeout=30)
        assert time.monotonic() - sent < 10
    finally:
        worker.kill()
    assert worker.returncode == 143
    assert "Worker started" in stderr.decode()
    assert "gristmill worker start" in stderr.decode()
    assert shell.run("doctor").code == 0


def test_so_many_items_and_no_more(shell, folder):
    batch_id = str(uuid.uuid4())
    shell.look("ingest", str(folder), "--no-wait", "--batch-id", batch_id)
    shell.look("worker", "run-once", "--max-items", "2")
    view = shell.look("batches", "show", batch_id)
    assert (view["completed_count"], view["queued_count"]) == (2, 3)
    shell.look("worker", "run-once", "--workers", "2")
    assert shell.look("batches", "show", batch_id)["completed_count"] == 5


def test_held_batch_says_why_wherever_one_looks(shell, folder):
    """The embedder's package is broken: what it is, what is held, and that nothing is lost."""
    for number in range(25):
        (folder / f"more-{number}.txt").write_text(f"More on kettle {number}.\n")
    broken = shell.home.parent / "broken"
    broken.mkdir()
    (broken / "wordllama.py").write_text("raise ImportError('its weights are gone')\n")
    batch_id = str(uuid.uuid4())
    ingest = shell.start("ingest", str(folder), "--batch-id", batch_id, PYTHONPATH=str(broken))
    try:
        deadline = time.monotonic() + 60
        while not (view := shell.look("batches", "show", batch_id) if exists(shell, batch_id) else {}).get(
            "held"
        ):
            assert time.monotonic() < deadline, "It was not held."
            time.sleep(0.3)
        assert "its weights are gone" in view["held"]["reason"]
        assert "held since" in shell.run("batches", "show", batch_id).stdout
        assert "held" in shell.run("batches", "list").stdout
        problems = shell.run("doctor", "--json")
        assert problems.code == 1
        assert any("is held" in problem["what"] for problem in problems.json["problems"])
        ingest.send_signal(signal.SIGINT)
        ingest.communicate(timeout=30)
    finally:
        ingest.kill()
    mended = shell.json("ingest", str(folder), "--batch-id", batch_id)
    assert (mended["completed_count"], mended["failed_count"], mended["max_retries"]) == (30, 0, 0)


def exists(shell, batch_id) -> bool:
    listed = shell.run("batches", "list", "--json")
    return listed.code == 0 and batch_id in listed.stdout
