"""Everything a user's folder can hold: each bad input gets its category and its sentence, and nothing else is harmed."""

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.files import write_bad_inputs, write_good_files

GRISTMILL = str(Path(sys.executable).with_name("gristmill"))
GOOD = 50
ODD_NAMES = ["with space.txt", "new\nline.txt", "Счёт №7.txt", "🧱.txt", "-rf.txt", "quote'\".txt"]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_permissions() -> None:
    """Root reads everything; without these capabilities it is refused like anyone else."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def run(home: Path, *arguments: str, before: Callable[[], None] = obey_permissions, **settings: str):
    environment = {**os.environ, "GRISTMILL_HOME": str(home), "GRISTMILL_EMBEDDER": "wordllama", **settings}
    return subprocess.run(
        [GRISTMILL, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        preexec_fn=before,
    )


def ingest(home: Path, *arguments: str, expected: int, **options) -> dict:
    done = run(home, "ingest", *arguments, "--json", **options)
    assert done.returncode == expected, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "files"
    (folder / "good").mkdir(parents=True)
    write_good_files(folder / "good", GOOD - len(ODD_NAMES))
    for number, name in enumerate(ODD_NAMES):
        (folder / name).write_text(f"An oddly named note, number {number}.")
    return folder


def test_fifty_good_files_complete_among_every_kind_of_bad_one(folder, home):
    bad = {name: category.value for name, category in write_bad_inputs(folder).items()}
    (folder / "secret.txt").write_text("No one may read this.")
    (folder / "secret.txt").chmod(0)
    with (folder / "huge.txt").open("w") as file:
        for _ in range(90):
            file.write("sixteen letters " * 65_536)
    bad |= {"secret.txt": "unreadable", "huge.txt": "too_large"}
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)

    report = ingest(home, str(folder), expected=3)

    assert (report["completed_count"], report["failed_count"]) == (GOOD, len(bad))
    assert report["total_documents"] == GOOD + len(bad)
    assert {Path(each["source"]).name for each in report["skipped"]} == {"pipe", "dangling", "loop"}
    assert failures(home, report["batch_id"]) == bad


def failures(home: Path, batch_id: str) -> dict[str, str]:
    done = run(home, "batches", "results", batch_id, "--status", "failed", "--limit", "100", "--json")
    found = json.loads(done.stdout)["results"]
    for record in found:
        name = Path(record["source"]).name
        message = record["error_message"]
        assert name in message
        assert message.endswith(".")
        assert "Traceback" not in message
    return {Path(record["source"]).name: record["error_category"] for record in found}


def test_the_report_has_one_line_for_each_bad_file(folder, home):
    bad = write_bad_inputs(folder)
    done = run(home, "ingest", str(folder))
    assert done.returncode == 3
    for name, category in bad.items():
        (line,) = [line for line in done.stdout.splitlines() if f"/{name}  [" in line]
        assert f"[{category}]" in line


def test_odd_names_are_found_and_printed_on_one_line(folder, home):
    ingest(home, str(folder), expected=0)
    done = run(home, "search", "oddly named note", "--type", "text", "--limit", "20", "--json")
    names = {Path(each["source"]).name for each in json.loads(done.stdout)["results"]}
    assert names >= set(ODD_NAMES)
    listed = run(home, "documents", "list", "--limit", "100").stdout
    assert "new\\nline.txt" in listed


def test_a_full_disk_is_a_temporary_outage_and_the_same_command_finishes_the_batch(folder, home):
    batch = "7e57ab1e-0000-4000-8000-00000000d15c"
    ingest(home, str(folder / "good"), "--pattern", "good-00000*", expected=0)
    full = (home / "gristmill.db").stat().st_size + 100_000

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))

    done = run(home, "ingest", str(folder), "--batch-id", batch, "--json", before=no_room)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    report = ingest(home, str(folder), "--batch-id", batch, expected=0)
    assert report["completed_count"] == GOOD


def test_a_database_that_is_not_one_is_named_and_left_alone(folder, home):
    home.mkdir()
    database = home / "gristmill.db"
    database.write_bytes(b"These are the accounts of 1998, not a database. " * 100)
    done = run(home, "ingest", str(folder))
    assert done.returncode == 1
    assert str(database) in done.stderr
    assert "Traceback" not in done.stderr
    assert database.read_bytes().startswith(b"These are the accounts")


def test_a_home_that_cannot_be_written_is_named(folder, home):
    home.mkdir()
    home.chmod(0o500)
    done = run(home, "ingest", str(folder))
    assert done.returncode == 1
    assert str(home) in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_vanish_or_change_meanwhile_cost_themselves_alone(folder, home):
    """The batch is made first; then files go and change before anything is read."""
    done = run(home, "ingest", str(folder), "--no-wait", "--json")
    batch = json.loads(done.stdout)["batch_id"]
    (folder / "🧱.txt").unlink()
    (folder / "-rf.txt").write_text("Changed to speak of marmalade.")
    assert run(home, "worker", "run-once").returncode == 3
    report = json.loads(run(home, "batches", "show", batch, "--json").stdout)
    assert (report["completed_count"], report["failed_count"]) == (GOOD - 1, 1)
    assert "is gone" in report["error_messages"]
    found = json.loads(run(home, "search", "marmalade", "--type", "text", "--json").stdout)
    assert len(found["results"]) == 1
