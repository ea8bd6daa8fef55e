"""A split: two copies of a record live apart by legal moves and merge (protocol V1, V5, C1)."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.domain import moves
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.moves import MOVES, IllegalMoveError, Write
from gristmill.domain.record import Done, Failed, Record, RecordStatus, Report, Result, Retry, Snooze
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import Version, WriteIds, newer
from tests.support import builders
from tests.support.clocks import START

TIMEOUT = Failure(FailureCategory.TIMEOUT, "Slow.")
POLICY = RetryPolicy()


@dataclass
class Side:
    """One database in a split: its copy of one record, and what its users were told."""

    record: Record
    ids: WriteIds
    now: int = 0
    claimed: list[Record] = field(default_factory=list)
    completed_rounds: set[int] = field(default_factory=set)
    written: dict[Version, Record] = field(default_factory=dict)

    def write(self) -> Write:
        self.now += 1
        return Write(now=START + timedelta(seconds=self.now), write_id=self.ids.draw())

    def take(self, step: str) -> None:
        """Take the step if it is legal here."""
        before = self.record
        try:
            self.record = self.moved(step)
        except IllegalMoveError:
            return
        if self.record is before:
            return
        assert self.record.version > before.version
        assert before.status == self.record.status or self.record.status in legal_ways(before.status)
        if self.record.status is RecordStatus.COMPLETED:
            self.completed_rounds.add(self.record.round)
        self.written[self.record.version] = self.record

    def moved(self, step: str) -> Record:
        match step:
            case "claim":
                claim_id = f"{self.ids.writer}-{self.now}"
                claimed = moves.claim(self.record, claim_id=claim_id, worker="w", write=self.write())
                self.claimed.append(claimed)
                return claimed
            case "release":
                return moves.release(self.record, self.write())
            case "lease_end":
                return moves.end_lease(self.record, POLICY, self.write())
            case "cancel":
                return moves.cancel(self.record, self.write())
            case "reopen":
                return moves.reopen(self.record, batch_round=self.record.round + 1, write=self.write())
            case "stage" if self.record.status is RecordStatus.PROCESSING:
                return moves.progressed(self.record, stage="extracting", progress=1, write=self.write())
            case "done" | "failed" | "retry" | "snooze" if self.claimed:
                return self.reported(step)
        return self.record

    def reported(self, step: str) -> Record:
        """The outcome of the newest claim made here, late or not, as a store applies it (C1)."""
        outcomes = {"done": Done(), "failed": Failed(TIMEOUT), "retry": Retry(TIMEOUT), "snooze": Snooze(1)}
        report = Report(self.claimed[-1], outcomes[step])
        if not moves.meets(self.record, report):
            return self.record
        held = self.record if self.record.claim == report.record.claim else report.record
        return moves.settle(held, report.outcome, POLICY, self.write())


def legal_ways(status: RecordStatus) -> set[RecordStatus]:
    """Where a record can be after moves that a merge may show at once: the next one, or an outcome later."""
    ways = {to for (start, _), to in MOVES.items() if start is status}
    return ways | {to for way in ways for (start, _), to in MOVES.items() if start is way}


def shows_progress(old: Record, merged: Record) -> bool:
    """Whether a merge took nothing back: a round never falls, and what ended in it stays ended at least so."""
    if merged.round != old.round:
        return merged.round > old.round
    rank = [RecordStatus.FAILED, RecordStatus.CANCELLED, RecordStatus.COMPLETED]
    if old.status not in rank:
        return merged.epoch >= old.epoch or merged.status in rank
    return merged.status in rank[rank.index(old.status) :]


def sides(start: Record | None = None) -> tuple[Side, Side]:
    record = start or builders.record(version=Version(write_id="origin:1"))
    return Side(record, WriteIds("a")), Side(record, WriteIds("b"))


def merge(one: Side, two: Side) -> None:
    one.record = two.record = newer(one.record, two.record)


STEPS = ["claim", "release", "lease_end", "cancel", "reopen", "stage", "done", "failed", "retry", "snooze"]
histories = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("ab"), st.sampled_from([*STEPS, "claim", "claim", "done", "failed"])),
        st.just(("", "merge")),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(histories)
def test_two_copies_that_live_apart_and_merge_keep_every_promise(history: list[tuple[str, str]]):
    a, b = sides()
    for where, step in [*history, ("", "merge")]:
        if step == "merge":
            before = (a.record, b.record)
            merge(a, b)
            assert all(shows_progress(old, a.record) for old in before)
        else:
            (a if where == "a" else b).take(step)
    merged = a.record
    completed = a.completed_rounds | b.completed_rounds
    if completed and merged.round == max(completed):
        assert merged.status is RecordStatus.COMPLETED
    assert not completed or merged.round >= max(completed)
    assert merged.attempts <= POLICY.max_attempts
    assert not a.written.keys() & b.written.keys()
    ending = {RecordStatus.COMPLETED: 3, RecordStatus.CANCELLED: 2, RecordStatus.FAILED: 1}
    assert merged.version.ending == ending.get(merged.status, 0)


@given(histories)
def test_equal_versions_mean_equal_bytes(history: list[tuple[str, str]]):
    a, b = sides()
    for where, step in history:
        if step == "merge":
            merge(a, b)
        else:
            (a if where == "a" else b).take(step)
        if a.record.version == b.record.version:
            assert a.record == b.record


def held() -> Record:
    record = builders.record(version=Version(write_id="origin:1"))
    return moves.claim(record, claim_id="c", worker="w", write=Write(START, "origin:2"))


def after(step: str, *more: str) -> tuple[Side, Side]:
    """Two sides that hold one claim; the first takes the steps."""
    one, two = sides(held())
    one.claimed, two.claimed = [held()], [held()]
    for each in (step, *more):
        one.take(each)
    return one, two


@pytest.mark.parametrize(
    "others",
    [
        ["failed"],
        ["cancel"],
        ["release", "claim"],
        ["retry", "claim", "failed"],
        ["release", "claim", "cancel"],
    ],
)
def test_completion_survives_whatever_the_other_side_did_in_its_round(others: list[str]):
    one, two = after("done")
    for step in others:
        two.take(step)
    assert newer(one.record, two.record) == one.record
    assert one.record.status is RecordStatus.COMPLETED


@pytest.mark.parametrize(
    "others", [["failed"], ["release", "claim", "failed"], ["release", "claim", "release"]]
)
def test_cancellation_beats_failures_and_open_work(others: list[str]):
    one, two = after("cancel")
    for step in others:
        two.take(step)
    assert newer(one.record, two.record).status is RecordStatus.CANCELLED


@pytest.mark.parametrize(
    "others", [["release", "claim"], ["retry"], ["stage"], ["release", "claim", "release"]]
)
def test_failure_beats_open_work_of_its_round(others: list[str]):
    one, two = after("failed")
    for step in others:
        two.take(step)
    assert newer(one.record, two.record).status is RecordStatus.FAILED


@pytest.mark.parametrize("other", ["done", "cancel", "failed"])
def test_reopened_round_beats_every_ending_of_the_old_one(other: str):
    one, two = after("failed", "reopen")
    two.take(other)
    assert newer(one.record, two.record) == one.record
    assert one.record.status is RecordStatus.PENDING


def test_later_claim_beats_an_earlier_one_whatever_the_clocks_say():
    one, two = after("release", "claim")
    two.now = 10_000
    for _ in range(5):
        two.take("stage")
    assert newer(one.record, two.record) == one.record


def test_retry_or_release_beats_the_claim_it_follows():
    for step in ["retry", "release", "snooze", "lease_end"]:
        one, two = after(step)
        two.now = 10_000
        two.take("stage")
        assert newer(one.record, two.record) == one.record


def test_result_travels_with_the_version_that_carries_it():
    one, two = sides(held())
    one.record = moves.settle(one.record, Done(Result(chunks=5)), POLICY, one.write())
    two.record = moves.settle(two.record, Done(Result(chunks=5)), POLICY, two.write())
    assert one.record.version != two.record.version
    assert newer(one.record, two.record).result == Result(chunks=5)
