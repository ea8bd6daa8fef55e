"""A worker ingesting in one process and a reader searching in another, on one SQLite file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gristmill import SemanticCore

FILES = 60
CHUNKS = 3
GRISTMILL = str(Path(sys.executable).with_name("gristmill"))


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return {**os.environ, "GRISTMILL_HOME": str(tmp_path / "home"), "GRISTMILL_EMBEDDER": "wordllama"}


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write_all(folder, "ancient")
    return folder


def name_of(number: int) -> str:
    """A word of letters alone: digits are tokens of their own and would match other files."""
    return "unit" + "".join(chr(ord("a") + int(digit)) for digit in f"{number:03d}")


def write_all(folder: Path, word: str) -> None:
    for number in range(FILES):
        paragraph = (
            f"{name_of(number)} {word} " + "filler words make a paragraph long enough to stand alone " * 12
        )
        (folder / f"{number:03d}.txt").write_text("\n\n".join([paragraph.strip()] * CHUNKS))


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [GRISTMILL, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str], expected: int = 0) -> dict:
    out, err = process.communicate(timeout=120)
    assert process.returncode == expected, out + err
    return json.loads(out)


def words_found(core: SemanticCore, number: int) -> list[str]:
    answer = core.search(name_of(number), type="text", limit=50)
    assert not answer.degraded
    return [found.hit.text.split()[1] for found in answer.results]


def test_search_during_ingest_never_fails_and_never_shows_half_a_document(environment, folder, tmp_path):
    """Invariant 8: the old text is found until the new version is whole, and never both."""
    finish(start(environment, "ingest", str(folder), "--json"))
    write_all(folder, "modern")
    ingest = start(environment, "ingest", str(folder), "--json")
    seen = set()
    with SemanticCore(home=tmp_path / "home", embedder="wordllama") as core:
        while ingest.poll() is None:
            for number in range(0, FILES, 7):
                words = words_found(core, number)
                assert len(words) == CHUNKS
                assert len(set(words)) == 1
                seen |= set(words)
        finish(ingest)
        assert words_found(core, 0) == ["modern"] * CHUNKS
    assert "ancient" in seen


def test_a_killed_ingest_goes_on_where_it_stopped_and_doubles_nothing(environment, folder, tmp_path):
    """Invariants 2 and 4 across kill -9: the same command again finishes the batch."""
    batch_id = "0b7f3bb0-3a52-4a5f-9a44-6f6f62617463"
    command = ["ingest", str(folder), "--batch-id", batch_id, "--json"]
    for completed_before in (5, 25):
        ingest = start(environment, *command)
        wait_until_completed(tmp_path / "home", batch_id, completed_before, ingest)
        os.kill(ingest.pid, signal.SIGKILL)
        ingest.communicate()
    report = finish(start(environment, *command))
    assert report["completed_count"] == report["total_documents"] == FILES
    assert report["batch_status"] == report["computed_status"] == "completed"
    with SemanticCore(home=tmp_path / "home", embedder="wordllama") as core:
        for number in range(FILES):
            assert words_found(core, number) == ["ancient"] * CHUNKS


def wait_until_completed(home: Path, batch_id: str, count: int, ingest: subprocess.Popen[str]) -> None:
    while ingest.poll() is None:
        try:
            with sqlite3.connect(f"file:{home}/gristmill.db?mode=ro", uri=True) as database:
                query = "select count(*) from records where status = 'completed'"
                if database.execute(query).fetchone()[0] >= count:
                    return
        except sqlite3.OperationalError:  # Not made yet.
            time.sleep(0.01)
    pytest.fail("the ingest ended before it could be killed")


def test_two_ingests_of_one_folder_at_once_both_complete(environment, folder, tmp_path):
    first, second = (start(environment, "ingest", str(folder), "--json") for _ in range(2))
    reports = [finish(first), finish(second)]
    assert {report["completed_count"] for report in reports} == {FILES}
    with SemanticCore(home=tmp_path / "home", embedder="wordllama") as core:
        assert words_found(core, 1) == ["ancient"] * CHUNKS
