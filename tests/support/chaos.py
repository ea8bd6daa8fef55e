"""Outages of two database servers and the death of a worker, drawn from a seed, while a batch is worked on."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
OUTAGES = 5


class Server(Protocol):
    def start(self) -> object: ...

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


class How(StrEnum):
    KILLED = "killed"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Outage:
    """``well_before``: seconds for which both servers ran before."""

    server: str
    how: How
    well_before: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Hit:
    """When an outage was, by the monotonic clock; ``end`` is when the server answered again."""

    outage: Outage
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Line:
    event: str
    pid: int
    at: float
    item: str
    epoch: int


def outages_of(seed: int, servers: tuple[str, str]) -> list[Outage]:
    """In turn; each way of failing comes in every run."""
    draw = random.Random(seed)
    first = draw.randrange(2)
    hows = [How.KILLED, How.FROZEN, *draw.choices(list(How), k=OUTAGES - 2)]
    draw.shuffle(hows)
    return [
        Outage(servers[(first + number) % 2], how, draw.uniform(0.5, 3.0), draw.uniform(0.5, 6.0))
        for number, how in enumerate(hows)
    ]


class Team:
    """Worker processes that share a log of what was acknowledged to them; it lies outside of all databases."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.home = folder / "home"
        self._log = folder / "log"
        self._errors = folder / "errors"
        self._environment = dict(environment)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        command = [sys.executable, "-m", "tests.support.chaos_worker", str(self.home), str(self._log)]
        with self._errors.open("ab") as errors:
            self.processes += [
                subprocess.Popen(command, cwd=ROOT, env=os.environ | self._environment, stderr=errors)
                for _ in range(count)
            ]

    def lines(self, event: str) -> list[Line]:
        text = self._log.read_text() if self._log.exists() else ""
        rows = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [
            Line(row[0], int(row[1]), float(row[2]), row[3], int(row[4])) for row in rows if row[0] == event
        ]

    def acknowledged(self) -> set[str]:
        """The items whose completion was."""
        return {line.item for line in self.lines("ack")}

    def kill_one(self) -> None:
        self.processes[0].kill()
        self.processes[0].wait()

    def hurry(self) -> None:
        """What is left to do takes no longer than it takes."""
        self._log.with_name(f"{self._log.name}.hurry").touch()

    def said(self) -> str:
        return self._errors.read_text()

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def team_of(folder: Path, environment: Mapping[str, str]) -> Iterator[Team]:
    team = Team(folder, environment)
    try:
        yield team
    finally:
        team.stop()


def strike(server: Server, outage: Outage) -> Hit:
    """Take the server away for as long, and bring it back."""
    start = time.monotonic()
    if outage.how is How.KILLED:
        server.kill()
        time.sleep(outage.seconds)
        server.start()
    else:
        server.freeze()
        time.sleep(outage.seconds)
        server.thaw()
    return Hit(outage, start, time.monotonic())


def longest_pause(acks: list[float], hit: Hit, *, until: float) -> float:
    """The longest time without an acknowledgement that touches the outage or what follows it up to ``until``."""
    ends = [at for at in acks if at > hit.start]
    before = max((at for at in acks if at <= hit.start), default=hit.start)
    times = [
        before,
        *(at for at in ends if at < until),
        min((at for at in ends if at >= until), default=until),
    ]
    return max(later - earlier for earlier, later in pairwise(times))
