"""An ingest that is killed at drawn moments and started again until it ends, and what each kill hit."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import psutil

from tests.support import stored
from tests.support.announced import ANNOUNCE, COMMAND, Step
from tests.support.announcements import Announcements
from tests.support.shell import Shell

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 180.0
MOST_KILLS = 3
_LOOK_EVERY_SECONDS = 0.02

# The highest ordinal of a beginning to aim at; one that never comes is a kill that never comes.
_LATEST_BEGINNING = {
    Step.SUBMITTING: 6,
    Step.EXTRACTING: 80,
    Step.EMBEDDING: 6,
    Step.PUBLISHING: 3,
    Step.WRITING: 2,
}
# A kill counts once, for the one of the steps it hit that is the hardest to hit.
_HARDEST_FIRST = (Step.WRITING, Step.SUBMITTING, Step.PUBLISHING, Step.EMBEDDING, Step.EXTRACTING)


class Victim(StrEnum):
    WORKER = "worker"
    POOL_PROCESS = "pool process"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Aim:
    """Kill ``victim`` some time after the ``nth`` beginning of ``step``, without a step after the last kill."""

    victim: Victim
    step: Step | None
    nth: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """``steps``: what the killed processes had begun and not ended."""

    victim: Victim
    steps: frozenset[Step]
    batch_was_running: bool

    @property
    def hit(self) -> Step | None:
        return next((step for step in _HARDEST_FIRST if step in self.steps), None)


@dataclass(frozen=True, slots=True)
class Ran:
    """``code``, ``stdout`` and ``stderr`` are those of the last start; ``executions`` counts extractions begun, by source."""

    kills: Sequence[Kill]
    executions: Counter[str]
    code: int
    stdout: str
    stderr: str


def aims_of(seed: int) -> list[Aim]:
    """One to three; the first ones of five seeds in a row aim at the five steps."""
    draw = random.Random(seed)
    first = list(Step)[seed % len(Step)]
    # A batch that was killed while it was submitted is submitted again.
    again = [each for each in Step if each is not Step.SUBMITTING or first is each]
    return [_aim(step, draw) for step in (first, *draw.choices([None, *again], k=draw.randrange(MOST_KILLS)))]


def _aim(step: Step | None, draw: random.Random) -> Aim:
    if step is None:
        return Aim(draw.choice(list(Victim)), None, 0, draw.uniform(0.0, 4.0))
    in_pool = step in {Step.EXTRACTING, Step.EMBEDDING}
    victim = draw.choice([each for each in Victim if in_pool or each is not Victim.POOL_PROCESS])
    delay_seconds = draw.choice([0.0, draw.uniform(0.0, 0.02)])
    return Aim(victim, step, draw.randint(1, _LATEST_BEGINNING[step]), delay_seconds)


class KilledIngest:
    """Runs ``gristmill ingest FOLDER --batch-id ID`` in ``shell``; ``scratch`` is a folder for files of its own."""

    def __init__(self, shell: Shell, folder: Path, batch_id: UUID, *, scratch: Path) -> None:
        self._shell = shell
        self._arguments = ["ingest", str(folder), "--batch-id", str(batch_id), "--json"]
        self._batch_id = batch_id
        self._pipe = scratch / "announcements"
        self._stdout = scratch / "stdout"
        self._stderr = scratch / "stderr"
        self._heard = Announcements(self._pipe)
        self._deadline = time.monotonic() + LIMIT_SECONDS

    def run(self, aims: Sequence[Aim]) -> Ran:
        kills = []
        left = deque(aims)
        process = self._start()
        try:
            while left and (pid := self._reach(left[0], process)):
                kills.append(self._kill(left.popleft().victim, pid, process))
                if process.poll() is not None:
                    process = self._start()
            while self._runs(process):
                self._heard.hear_out(_LOOK_EVERY_SECONDS)
            self._heard.hear_out()
        finally:
            process.kill()
            process.wait()
            self._heard.close()
        written = self._stdout.read_text(), self._stderr.read_text()
        return Ran(kills, self._heard.executions, process.returncode, *written)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            return subprocess.Popen(
                [*COMMAND, *self._arguments],
                cwd=ROOT,
                env=self._shell.environment | {ANNOUNCE: str(self._pipe)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def _runs(self, process: subprocess.Popen[bytes]) -> bool:
        assert time.monotonic() < self._deadline, f"It did not come to an end in {LIMIT_SECONDS} s."
        return process.poll() is None

    # -- aiming --------------------------------------------------------------------------------------

    def _reach(self, aim: Aim, process: subprocess.Popen[bytes]) -> int | None:
        """Wait for the moment to kill, and return whom; None when the command ended before."""
        if aim.step is None:
            return self._reach_time(aim, process)
        begun = 0
        while self._runs(process):
            for each in self._heard.listen(_LOOK_EVERY_SECONDS):
                theirs = aim.victim is not Victim.POOL_PROCESS or each.pid != process.pid
                begun += each.begins and each.step is aim.step and theirs
                if begun == aim.nth:
                    self._heard.hear_out(aim.delay_seconds)
                    return each.pid if aim.victim is Victim.POOL_PROCESS else process.pid
        return None

    def _reach_time(self, aim: Aim, process: subprocess.Popen[bytes]) -> int | None:
        moment = time.monotonic() + aim.delay_seconds
        while self._runs(process):
            self._heard.hear_out(min(_LOOK_EVERY_SECONDS, max(0.0, moment - time.monotonic())))
            if time.monotonic() >= moment:
                if aim.victim is not Victim.POOL_PROCESS:
                    return process.pid
                if pool := self._pool_processes(process):
                    return pool[0]
        return None

    # -- killing -------------------------------------------------------------------------------------

    def _kill(self, victim: Victim, pid: int, process: subprocess.Popen[bytes]) -> Kill:
        if victim is Victim.EVERYONE:
            os.kill(pid, signal.SIGSTOP)  # So that it does not see the others die.
            for each in self._pool_processes(process):
                os.kill(each, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        if victim is Victim.POOL_PROCESS:
            self._wait_until(lambda: pid not in self._pool_processes(process))
            return self._what_was_hit(victim, {pid})
        process.wait()
        self._wait_until(lambda: not self._pool_processes(process))
        return self._what_was_hit(victim, None)

    def _what_was_hit(self, victim: Victim, dead: set[int] | None) -> Kill:
        """``dead`` are the processes that were killed, None says all there were."""
        self._heard.hear_out()
        steps = self._heard.under_way(dead)
        self._heard.forget(dead)
        state = stored.batch_state(self._shell.home, self._batch_id)
        if state is not None:
            assert stored.problems(self._shell.home, ended=False) == {}
            if state.sealed:
                steps.discard(Step.SUBMITTING)
        return Kill(
            victim=victim,
            steps=frozenset(steps),
            batch_was_running=state is not None and not state.ended,
        )

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert time.monotonic() < self._deadline, "A process does not die."
            self._heard.hear_out(0.01)

    def _pool_processes(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Those that live, also after their worker's death: they have our pipe in their environment."""
        return [pid for pid in psutil.pids() if pid != worker.pid and _pipe_of(pid) == str(self._pipe)]


def _pipe_of(pid: int) -> str | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).environ().get(ANNOUNCE)
    return None
