"""Signals and kills in the middle of an ingest; the same command with --batch-id goes on."""

import asyncio
import signal
import time
import uuid

import psutil
import pytest

from gristmill import settings, wiring
from gristmill.insights import batches
from tests.support.shell import Shell

FILES = 160


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    """Enough work that a batch cannot end between our look at it and our signal."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(FILES):
        text = f"Note {number} on kettle {number * 7} and the saddle of barn {number * 3}. " * 150
        (folder / f"{number:03}.txt").write_text(text)
    return folder


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.1)


async def completed(shell, batch_id) -> int:
    core = wiring.build(settings.load(home=shell.home, embedder="wordllama"))
    await core.open()
    try:
        if await core.database.batches.get_batch(batch_id) is None:
            return 0
        return (await batches.progress(core, batch_id)).counters.completed
    finally:
        await core.close()


def start_and_stop(shell, folder, batch_id, number):
    """Start the ingest, wait until it has completed more than there was, send the signal."""
    before = asyncio.run(completed(shell, batch_id)) if shell.home.exists() else 0
    process = shell.start("ingest", str(folder), "--batch-id", str(batch_id))
    wait_until((shell.home / "gristmill.db").exists)
    wait_until(lambda: asyncio.run(completed(shell, batch_id)) > before)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    sent = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - sent < 10
    wait_until(lambda: not any(child.is_running() for child in children), 10)
    return process.returncode, stderr.decode()


def test_batch_survives_signals_and_a_kill_and_then_completes(shell, folder):
    batch_id = uuid.uuid4()
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        ended, stderr = start_and_stop(shell, folder, batch_id, number)
        assert ended == code
        assert f"Interrupted by {number.name}" in stderr
        assert f"gristmill ingest {folder} --batch-id {batch_id}" in stderr
        view = shell.look("batches", "show", str(batch_id))
        assert (view["in_progress_count"], view["batch_status"]) == (0, "processing")
        assert view["completed_count"] + view["queued_count"] == FILES
    ended, _ = start_and_stop(shell, folder, batch_id, signal.SIGKILL)
    assert ended == -signal.SIGKILL
    view = shell.json("ingest", str(folder), "--batch-id", str(batch_id))
    assert (view["completed_count"], view["total_documents"], view["failed_count"]) == (FILES, FILES, 0)
    assert view["computed_status"] == "completed"
    assert shell.look("stats")["collections"][0]["documents"] == FILES


def test_interrupted_json_is_still_one_document(shell, folder):
    process = shell.start("ingest", str(folder), "--json")
    assert process.stderr
    batch_id = process.stderr.readline().decode().split()[1]
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert b'"kind": "interrupted"' in stdout
    assert f"--batch-id {batch_id}".encode() in stdout


def test_second_signal_stops_at_once_and_leaves_no_process_behind(shell, folder):
    batch_id = uuid.uuid4()
    process = shell.start("ingest", str(folder), "--batch-id", str(batch_id))
    wait_until((shell.home / "gristmill.db").exists)
    wait_until(lambda: psutil.Process(process.pid).children())
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGSTOP)  # So that both signals wait for it together.
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode in {130, 143}
    assert b"The same signal again stops at once." in stderr
    wait_until(lambda: not any(child.is_running() for child in children), 10)
