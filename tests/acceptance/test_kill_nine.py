"""kill -9 of the worker, of a pool process and of all at once: nothing is lost, stuck or doubled.

``make test`` runs the first few seeds; ``make soak`` runs SOAK_SEEDS. A failure names its seed, and
GRISTMILL_TEST_SEEDS="7 12" runs those alone.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from gristmill import SemanticCore
from gristmill.pipeline.preparing import MOST_TOGETHER
from tests.support import stored
from tests.support.announced import Step
from tests.support.corpora import write_corpus
from tests.support.kill_nine import KilledIngest, Ran, Victim, aims_of
from tests.support.shell import Shell

FILES = 200
SOAK_SEEDS = 100
FEW_SEEDS = 6
BATCHES = UUID("6b696c6c-2d39-4000-8000-000000000000")
QUERIES = ("survey of the lantern", "журнал и чайник", "harvest copper ledger", "note 42")
SOAK = bool(os.environ.get("GRISTMILL_TEST_SOAK"))


def seeds() -> Sequence[int]:
    named = os.environ.get("GRISTMILL_TEST_SEEDS", "").split()
    return [int(seed) for seed in named] or range(SOAK_SEEDS if SOAK else FEW_SEEDS)


def shell_of(home: Path, *, pool_processes: int = 2) -> Shell:
    return Shell(home, GRISTMILL_WORKERS=str(pool_processes), GRISTMILL_RETRY_DELAY_SECONDS="0.05")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_corpus(folder, FILES)
    return folder


@dataclass(frozen=True, slots=True)
class Found:
    contents: stored.Contents
    answers: dict[tuple[str, str], dict[str, float]]


def found_in(home: Path) -> Found:
    with SemanticCore(home=home, embedder="wordllama") as core:
        answers = {(query, kind): best(core, query, kind) for query in QUERIES for kind in ("text", "vector")}
    return Found(stored.contents(home), answers)


def best(core: SemanticCore, query: str, kind: str) -> dict[str, float]:
    """Score by chunk; the lowest score is left out, because equal ones may have been cut off."""
    answer = core.search(query, type=kind, limit=20)
    assert not answer.degraded
    lowest = min(each.score for each in answer.results)
    return {str(each.hit.chunk_id): round(each.score, 6) for each in answer.results if each.score > lowest}


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory) -> Found:
    shell = shell_of(tmp_path_factory.mktemp("undisturbed") / "home")
    assert shell.json("ingest", str(folder))["completed_count"] == FILES
    return found_in(shell.home)


def test_killed_runs_end_as_if_nothing_had_happened(folder, undisturbed, tmp_path, record_property):
    runs = []
    for seed in seeds():
        try:
            runs.append(killed_run(seed, folder, undisturbed, tmp_path / str(seed)))
        except Exception as error:
            error.add_note(
                f"This was seed {seed}: GRISTMILL_TEST_SEEDS={seed} runs it alone. {aims_of(seed)}"
            )
            raise
    record_property("figures", histogram(runs))
    assert sum(repeated(run) for run in runs) > 0
    assert running(runs) > len(runs) / 2
    if len(runs) >= SOAK_SEEDS:
        assert running(runs) >= 0.9 * len(runs)
        assert all(runs_that_hit(runs, step) >= 5 for step in Step)


def killed_run(seed: int, folder: Path, undisturbed: Found, scratch: Path) -> Ran:
    scratch.mkdir()
    shell = shell_of(scratch / "home", pool_processes=1 + seed % 2)
    batch_id = uuid5(BATCHES, str(seed))
    ran = KilledIngest(shell, folder, batch_id, scratch=scratch).run(aims_of(seed))
    assert ran.code == 0, ran.stdout + ran.stderr
    assert_ended_well(shell, batch_id, json.loads(ran.stdout))
    assert_a_pool_process_costs_one_item(ran, stored.batch_state(shell.home, batch_id))
    assert found_in(shell.home) == undisturbed
    return ran


def assert_ended_well(shell: Shell, batch_id: UUID, report: dict) -> None:
    """0 lost, 0 stuck, 0 doubled, and counters that add up, in what is stored and in what is shown."""
    assert stored.problems(shell.home, ended=True) == {}
    view = shell.look("batches", "show", str(batch_id))
    for shown in (report, view):
        assert shown["computed_status"] == shown["batch_status"] == "completed"
        assert shown["total_files"] == shown["total_documents"] == shown["completed_count"] == FILES
        others = ("queued_count", "in_progress_count", "failed_count", "cancelled_count")
        assert [shown[name] for name in others] == [0] * len(others)


def assert_a_pool_process_costs_one_item(ran: Ran, state: stored.BatchState | None) -> None:
    """Where nothing else was killed, each kill costs at most one item an attempt.

    What ran again was charged, or it shared a call with others: then it ran again alone in the same attempt.
    """
    assert state is not None
    if {kill.victim for kill in ran.kills} == {Victim.POOL_PROCESS}:
        charged = Counter(state.retries)
        assert charged.total() <= len(ran.kills)
        again = ran.executions - Counter(list(ran.executions))
        assert (again - charged).total() <= MOST_TOGETHER * len(ran.kills)


# -- what the kills hit ------------------------------------------------------------------------------


def repeated(run: Ran) -> int:
    return run.executions.total() - len(run.executions)


def running(runs: Sequence[Ran]) -> int:
    """How many runs had their batch hit while it was running."""
    return sum(any(kill.batch_was_running for kill in run.kills) for run in runs)


def runs_that_hit(runs: Sequence[Ran], step: Step | None) -> int:
    return sum(any(kill.hit is step for kill in run.kills) for run in runs)


def histogram(runs: Sequence[Ran]) -> str:
    kills = [kill for run in runs for kill in run.kills]
    lines = [
        f"kill -9: {len(runs)} runs over {FILES} files, of which {running(runs)} were hit while running.",
        f"{'hit while':<20}{'runs':>6}{'kills':>6}" + "".join(f"{victim:>14}" for victim in Victim),
    ]
    for step in (*Step, None):
        hits = [kill.victim for kill in kills if kill.hit is step]
        row = "".join(f"{hits.count(victim):>14}" for victim in Victim)
        lines.append(f"{step or 'between steps':<20}{runs_that_hit(runs, step):>6}{len(hits):>6}{row}")
    begun = sum(run.executions.total() for run in runs)
    lines.append(f"Repeated executions: {sum(map(repeated, runs))} of {begun}.")
    return "\n".join(lines)
