"""Several worker processes on one SQLite file: every item runs in one of them at a time, whatever happens to one."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gristmill import settings, wiring
from gristmill.domain.batch import BatchStatusView, NewBatch
from gristmill.domain.record import Item
from gristmill.engine.submit import submit
from tests.support.logging_worker import KIND

ITEMS = 10_000
LEASE_SECONDS = 2
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Line:
    event: str
    pid: int
    at: float
    item: str
    epoch: int


class Team:
    """Worker processes over one home, and what they log."""

    def __init__(self, folder: Path) -> None:
        self.home, self._log = folder / "home", folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        command = [sys.executable, "-m", "tests.support.logging_worker", str(self.home), str(self._log)]
        environment = os.environ | {"GRISTMILL_LEASE_SECONDS": str(LEASE_SECONDS)}
        self.processes += [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(count)]

    def lines(self) -> list[Line]:
        if not self._log.exists():
            return []
        rows = (line.split() for line in self._log.read_text().splitlines())
        return [Line(row[0], int(row[1]), float(row[2]), row[3], int(row[4])) for row in rows]

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    team = Team(tmp_path)
    yield team
    team.stop()


async def submitted(home: Path, count: int) -> UUID:
    core = wiring.build(settings.load(home=home, embedder="wordllama", workers=1))
    await core.open()
    new = NewBatch(batch_id=uuid4(), kind=KIND)
    await core.database.batches.create_batch(new)
    await submit(core.database.batches, new.batch_id, (Item(f"i{n:05}", KIND) for n in range(count)))
    await core.close()
    return new.batch_id


async def view_of(home: Path, batch_id: UUID) -> BatchStatusView:
    core = wiring.build(settings.load(home=home, embedder="wordllama", workers=1))
    await core.open()
    try:
        return await core.database.batches.batch_status_view(batch_id)
    finally:
        await core.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.1)


def freeze(process: subprocess.Popen[bytes], team: Team) -> None:
    """Stop it inside an item and outside of a write: inside of one it keeps SQLite's lock, and all others wait.

    Stopped with a whole group done and its outcomes not yet written, it would have nothing left to report late.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        process.send_signal(signal.SIGSTOP)
        free = may_write(team.home / "gristmill.db")
        if free and [line for line in team.lines() if line.pid == process.pid][-1].event == "start":
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    pytest.fail("It was never inside an item when it was stopped.")


def may_write(path: Path) -> bool:
    with (
        closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection,
        suppress(sqlite3.OperationalError),
    ):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        return True
    return False


def executions(lines: list[Line]) -> dict[str, list[tuple[float, float, int]]]:
    """For each item, when it ran and where: (start, end, pid); one that never ended ends with the log."""
    last = max(line.at for line in lines)
    open_: dict[tuple[str, int, int], float] = {}
    found: defaultdict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for line in lines:
        key = (line.item, line.pid, line.epoch)
        if line.event == "start":
            open_[key] = line.at
        elif line.event == "end":
            found[line.item].append((open_.pop(key), line.at, line.pid))
    for (item, pid, _), start in open_.items():
        found[item].append((start, last, pid))
    return found


def test_four_workers_share_a_file_and_one_that_was_frozen_is_refused(team: Team):
    batch_id = asyncio.run(submitted(team.home, ITEMS))
    team.start(4)
    wait_until(lambda: sum(line.event == "end" for line in team.lines()) > ITEMS // 20)
    frozen = team.processes[0]
    wait_until(lambda: any(line.pid == frozen.pid and line.event == "end" for line in team.lines()))
    stopped_at = time.monotonic()  # The clock of the log, too.
    freeze(frozen, team)

    def rest_is_done() -> bool:
        return asyncio.run(view_of(team.home, batch_id)).completed_count == ITEMS

    wait_until(rest_is_done, 120)
    frozen.send_signal(signal.SIGUSR1)  # Delivered as it thaws: it reports what it held, far too late.
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: any(line.event == "late" for line in team.lines()))

    (late,) = (line for line in team.lines() if line.event == "late")
    held, refused = int(late.item), late.epoch
    assert refused == held > 0
    found = executions([line for line in team.lines() if line.event in {"start", "end"}])
    assert len(found) == ITEMS
    for runs in found.values():
        # What the one we stop had begun was, rightly, run by another meanwhile; nothing else overlaps.
        counted = sorted(run for run in runs if not (run[2] == frozen.pid and run[1] >= stopped_at))
        for (_, end, _), (start, _, _) in pairwise(counted):
            assert end <= start
    view = asyncio.run(view_of(team.home, batch_id))
    assert (view.completed_count, view.failed_count, view.max_retries) == (ITEMS, 0, 0)
    workers = {run[2] for runs in found.values() for run in runs}
    assert workers == {process.pid for process in team.processes}
