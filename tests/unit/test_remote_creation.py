"""A job at a provider that bills: created once, whoever dies, freezes or comes back (protocol J4).

The provider here is a model: its list lags, a create call with a deleted file fails unpaid, and answers get lost.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest

from gristmill.engine.remote_creation import LIST_LAG_SECONDS, RemoteCreation
from gristmill.ports.provider_jobs import InputFileGoneError, JobTakenOverError, TakenJob
from tests.support.stepped import Step, Stepped, every_order

JOB = UUID(int=7)
LINES = Path("lines.jsonl")


class Clock:
    now = 0.0


class Provider:
    """``paid`` holds each job that was created, with the time; the list shows it ``lag`` seconds later.

    ``lenient``: a create call with a deleted file makes a job all the same.
    """

    def __init__(self, clock: Clock, *, lag: float, lenient: bool) -> None:
        self.files: set[str] = set()
        self.paid: dict[str, tuple[str, float]] = {}
        self.refused = 0
        self._uploaded = 0
        self._clock = clock
        self._lag = lag
        self._lenient = lenient

    async def upload(self, name: str, lines: Path) -> str:
        def effect() -> str:
            self._uploaded += 1
            self.files.add(f"file-{self._uploaded}")
            return f"file-{self._uploaded}"

        found: str = await Step(effect)
        return found

    async def create(self, name: str, input_file: str) -> str:
        def effect() -> str:
            if input_file not in self.files and not self._lenient:
                self.refused += 1
                raise InputFileGoneError(input_file)
            remote_id = f"job-{len(self.paid) + 1}"
            self.paid[remote_id] = (name, self._clock.now)
            return remote_id

        found: str = await Step(effect)
        return found

    async def find(self, name: str) -> str | None:
        def effect() -> str | None:
            shown = (
                remote_id
                for remote_id, (named, created) in self.paid.items()
                if named == name and self._clock.now >= created + self._lag
            )
            return next(shown, None)

        found: str | None = await Step(effect)
        return found

    async def delete_file(self, input_file: str) -> None:
        await Step(lambda: self.files.discard(input_file))


class Rows:
    """One row, changed by compare-and-set; ``forgetful`` leaves the input file out of it."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.row = TakenJob(JOB, claim=0)
        self._forgetful = forgetful

    async def take(self) -> TakenJob:
        def effect() -> TakenJob:
            self.row = replace(self.row, claim=self.row.claim + 1)
            return self.row

        taken: TakenJob = await Step(effect)
        return taken

    async def note_input_file(self, job: TakenJob, input_file: str) -> TakenJob:
        return await self._set(job, replace(job, input_file=None if self._forgetful else input_file))

    async def note_remote_id(self, job: TakenJob, remote_id: str) -> TakenJob:
        return await self._set(job, replace(job, remote_id=remote_id))

    async def _set(self, job: TakenJob, changed: TakenJob) -> TakenJob:
        def effect() -> TakenJob:
            if self.row.claim != job.claim:
                raise JobTakenOverError
            self.row = changed
            return changed

        stored: TakenJob = await Step(effect)
        return stored


@dataclass(frozen=True)
class Variant:
    """``lag``: of the provider's list; ``wait``: what those who take over take it for."""

    lag: float = LIST_LAG_SECONDS
    wait: float = LIST_LAG_SECONDS
    forgetful: bool = False
    lenient: bool = False


class Office:
    """Processes that see to one job at one provider; each takes it when it begins.

    ``stubborn``: one whose answer was lost takes the job again, else it is gone.
    """

    def __init__(
        self, variant: Variant = Variant(), *, processes: int = 2, may_lose: int = 1, stubborn: bool = False
    ) -> None:
        self.clock = Clock()
        self.provider = Provider(self.clock, lag=variant.lag, lenient=variant.lenient)
        self.rows = Rows(forgetful=variant.forgetful)
        self._creation = RemoteCreation(
            self.rows, self.provider, list_lag_seconds=variant.wait, sleep=self._sleep
        )
        self._may_lose = may_lose
        self._stubborn = stubborn
        self._wakes: list[float] = []
        self.processes = [Stepped(self._see_to_it()) for _ in range(processes)]

    async def _see_to_it(self) -> TakenJob:
        while True:
            try:
                return await self._creation.complete(await self.rows.take(), LINES)
            except ConnectionError:  # What it asked for may have happened.
                if not self._stubborn:
                    raise

    async def _sleep(self, seconds: float) -> None:
        until: float = await Step(lambda: self._wake_after(seconds))
        await Step(lambda: self._wakes.remove(until), ready=lambda: self.clock.now >= until)

    def _wake_after(self, seconds: float) -> float:
        self._wakes.append(self.clock.now + seconds)
        return self._wakes[-1]

    def choices(self) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        for process in self.processes:
            if process.waiting is not None and process.waiting.ready():
                found.append(process.step)
                if self._may_lose:
                    found.append(lambda process=process: self._lose(process))
        later = [wake for wake in self._wakes if wake > self.clock.now]
        if later:
            found.append(lambda: setattr(self.clock, "now", min(later)))
        return found

    def _lose(self, process: Stepped) -> None:
        self._may_lose -= 1
        process.step(answer_lost=True)

    def check(self) -> None:
        """At most one paid job; who says that it is done has it in the row, and nobody fails in any other way."""
        assert len(self.provider.paid) <= 1
        for process in self.processes:
            if process.waiting is None and process.error is None:
                assert self.rows.row.remote_id in self.provider.paid
            assert process.error is None or isinstance(process.error, JobTakenOverError | ConnectionError)

    def close(self) -> None:
        for process in self.processes:
            process.close()


def run(process: Stepped, office: Office, *, steps: int | None = None) -> None:
    """So many steps of one process, or all of them; time passes while it waits."""
    done = 0
    while process.waiting is not None and done != steps:
        if process.waiting.ready():
            process.step()
            done += 1
        else:
            office.clock.now += 1


# The steps of a process that is alone: take, upload, note the file, create, note the job.
BEFORE_NOTING_THE_FILE, BEFORE_CREATE, BEFORE_NOTING_THE_JOB = 2, 3, 4


def test_a_process_alone_makes_one_job_without_a_wait():
    office = Office(processes=1)
    (process,) = office.processes
    run(process, office)
    assert list(office.provider.paid) == ["job-1"]
    assert process.result == office.rows.row == TakenJob(JOB, 1, "file-1", "job-1")
    assert office.clock.now == 0


def test_a_job_that_has_its_remote_id_is_left_alone():
    office = Office()
    first, second = office.processes
    run(first, office)
    run(second, office)
    assert second.result.remote_id == "job-1"
    assert len(office.provider.paid) == 1


def test_a_job_whose_create_was_answered_to_nobody_is_adopted_though_the_list_lags():
    office = Office()
    first, second = office.processes
    run(first, office, steps=BEFORE_NOTING_THE_JOB)
    run(second, office)
    assert office.clock.now >= LIST_LAG_SECONDS
    assert office.rows.row.remote_id == "job-1"
    assert len(office.provider.paid) == 1
    run(first, office)
    assert isinstance(first.error, JobTakenOverError)


def test_a_job_that_the_list_shows_is_adopted_at_once():
    office = Office(Variant(lag=0))
    first, second = office.processes
    run(first, office, steps=BEFORE_NOTING_THE_JOB)
    run(second, office)
    assert office.clock.now == 0
    assert office.rows.row.remote_id == "job-1"
    assert "file-1" in office.provider.files  # The job still reads it.


def test_a_worker_frozen_just_before_the_create_and_thawed_creates_nothing_with_a_deleted_file():
    office = Office()
    first, second = office.processes
    run(first, office, steps=BEFORE_CREATE)
    run(second, office)
    assert office.rows.row.remote_id == "job-1"
    run(first, office)
    assert isinstance(first.error, JobTakenOverError)
    assert office.provider.refused == 1
    assert list(office.provider.paid) == ["job-1"]


def test_a_worker_frozen_before_it_noted_its_file_deletes_it_and_creates_nothing():
    office = Office()
    first, second = office.processes
    run(first, office, steps=BEFORE_NOTING_THE_FILE)
    run(second, office)
    run(first, office)
    assert isinstance(first.error, JobTakenOverError)
    assert office.provider.files == {"file-2"}
    assert office.rows.row.input_file == "file-2"
    assert len(office.provider.paid) == 1


@pytest.mark.parametrize("lag", [0.0, LIST_LAG_SECONDS])
def test_two_processes_never_make_two_paid_jobs_in_any_order_of_their_steps(lag: float):
    seen = 0
    for office in every_order(lambda: Office(Variant(lag=lag), may_lose=2)):
        office.check()
        seen += 1
    assert seen > 1_000


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(Variant(wait=0), id="without the wait"),
        pytest.param(Variant(wait=LIST_LAG_SECONDS - 1), id="with a wait shorter than the lag"),
        pytest.param(Variant(forgetful=True), id="without the stored file"),
        pytest.param(Variant(lenient=True), id="with a provider that creates from a deleted file"),
    ],
)
def test_what_the_rule_asks_for_is_needed(variant: Variant):
    assert any(len(office.provider.paid) > 1 for office in every_order(lambda: Office(variant)))


@pytest.mark.parametrize("seed", range(20))
def test_many_processes_that_lose_many_answers_never_make_two_paid_jobs(seed: int):
    choose = random.Random(seed)
    for _ in range(100):
        lag = choose.choice((0, LIST_LAG_SECONDS / 2, LIST_LAG_SECONDS))
        office = Office(Variant(lag=lag), processes=5, may_lose=4, stubborn=True)
        while choices := office.choices():
            choose.choice(choices)()
            office.check()
