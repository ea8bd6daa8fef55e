"""The state table, move by move, and what each move does to the record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from gristmill.domain import moves
from gristmill.domain.failures import Failure, FailureCategory, Remedy, is_permanent, remedy
from gristmill.domain.moves import MOVES, IllegalMoveError, Move, Write
from gristmill.domain.record import (
    EMBEDDING,
    EXTRACTING,
    QUEUED,
    SUSPECT,
    SUSPECT_ALONE,
    Done,
    Failed,
    Outcome,
    Record,
    RecordStatus,
    Report,
    Result,
    Retry,
    Snooze,
    claim_order,
    is_permanently_failed,
    outcome_of,
)
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import Ending, Step, Version
from tests.support import builders
from tests.support.clocks import START

POLICY = RetryPolicy()
LATER = START + timedelta(minutes=5)
WRITE = Write(now=LATER, write_id="w:1")
TIMEOUT = Failure(FailureCategory.TIMEOUT, "Slow.")
PENDING, PROCESSING = RecordStatus.PENDING, RecordStatus.PROCESSING
COMPLETED, FAILED, CANCELLED = RecordStatus.COMPLETED, RecordStatus.FAILED, RecordStatus.CANCELLED

# The table once more, written as the design states it.
LEGAL = {
    (PENDING, Move.CLAIM): PROCESSING,
    (PENDING, Move.CANCEL): CANCELLED,
    (PROCESSING, Move.COMPLETE): COMPLETED,
    (PROCESSING, Move.FAIL): FAILED,
    (PROCESSING, Move.RETRY): PENDING,
    (PROCESSING, Move.SNOOZE): PENDING,
    (PROCESSING, Move.RELEASE): PENDING,
    (PROCESSING, Move.LEASE_END): PENDING,
    (PROCESSING, Move.CANCEL): CANCELLED,
    (FAILED, Move.REOPEN): PENDING,
}

TAKEN: dict[Move, Callable[[Record], Record]] = {
    Move.CLAIM: lambda record: moves.claim(record, claim_id="c", worker="w", write=WRITE),
    Move.COMPLETE: lambda record: _settle(record, Done()),
    Move.FAIL: lambda record: _settle(record, Failed(TIMEOUT)),
    Move.RETRY: lambda record: _settle(record, Retry(TIMEOUT)),
    Move.SNOOZE: lambda record: _settle(record, Snooze(1)),
    Move.RELEASE: lambda record: moves.release(record, WRITE),
    Move.LEASE_END: lambda record: moves.end_lease(record, POLICY, WRITE),
    Move.CANCEL: lambda record: moves.cancel(record, WRITE),
    Move.REOPEN: lambda record: moves.reopen(record, batch_round=1, write=WRITE),
}


def _settle(record: Record, outcome: Outcome) -> Record:
    return moves.settle(record, outcome, POLICY, WRITE)


def _claimed(**changes: object) -> Record:
    claimed = moves.claim(builders.record(), claim_id="c1", worker="w1", write=Write(START, "w:0"))
    return replace(claimed, **changes)


def _in(status: RecordStatus) -> Record:
    """A record that came to the status by legal moves."""
    match status:
        case RecordStatus.PENDING:
            return builders.record()
        case RecordStatus.PROCESSING:
            return _claimed()
        case RecordStatus.COMPLETED:
            return _settle(_claimed(), Done())
        case RecordStatus.FAILED:
            return _settle(_claimed(), Failed(TIMEOUT))
        case RecordStatus.CANCELLED:
            return moves.cancel(builders.record(), WRITE)


def test_table_is_the_one_of_the_design():
    assert MOVES == LEGAL


@pytest.mark.parametrize("status", RecordStatus)
@pytest.mark.parametrize("move", Move)
def test_every_pair_is_in_the_table_or_illegal(status: RecordStatus, move: Move):
    record = _in(status)
    if (status, move) not in LEGAL:
        with pytest.raises(IllegalMoveError) as refused:
            TAKEN[move](record)
        # A retry or an ended lease is one of two moves, by what its failure says.
        assert refused.value.status is status
        assert str(refused.value)
        return
    moved = TAKEN[move](record)
    assert moved.status is LEGAL[status, move]
    assert moved.version > record.version
    assert moved.version.write_id == WRITE.write_id
    assert moved.updated_at == LATER


@pytest.mark.parametrize("status", RecordStatus)
def test_ending_of_the_version_says_how_the_round_ended(status: RecordStatus):
    endings = {COMPLETED: Ending.COMPLETED, FAILED: Ending.FAILED, CANCELLED: Ending.CANCELLED}
    assert _in(status).version.ending is endings.get(status, Ending.OPEN)


def test_claim_takes_one_attempt_and_one_epoch():
    claimed = moves.claim(builders.record(), claim_id="c1", worker="w1", write=WRITE)
    assert (claimed.attempts, claimed.epoch, claimed.claim_id, claimed.worker) == (1, 1, "c1", "w1")
    assert (claimed.started_at, claimed.stage) == (LATER, QUEUED)
    again = moves.claim(moves.release(claimed, WRITE), claim_id="c2", worker="w2", write=WRITE)
    assert (again.attempts, again.epoch, again.started_at) == (1, 2, LATER)


def test_release_gives_the_attempt_back():
    released = moves.release(_claimed(stage=EXTRACTING, progress=50), WRITE)
    assert (released.attempts, released.stage, released.progress) == (0, QUEUED, 0)
    assert (released.claim_id, released.worker, released.next_attempt_at) == (None, None, LATER)
    assert released.version.step is Step.PENDING


def test_attempts_are_never_negative():
    held = _claimed(attempts=0)
    assert moves.release(held, WRITE).attempts == 0
    assert _settle(held, Snooze(1)).attempts == 0


def test_ended_lease_of_an_unstarted_claim_is_free():
    ended = moves.end_lease(_claimed(), POLICY, WRITE)
    assert (ended.attempts, ended.retries_total, ended.error) == (0, 0, None)


def test_ended_lease_of_a_started_claim_is_charged_as_crashed():
    ended = moves.end_lease(_claimed(stage=EXTRACTING), POLICY, WRITE)
    assert (ended.status, ended.attempts, ended.retries_total) == (PENDING, 1, 1)
    assert ended.error is not None
    assert ended.error.category is FailureCategory.CRASHED


def test_of_several_in_work_with_a_lost_worker_none_is_charged_and_each_is_to_run_alone():
    idle, first, second = _claimed(), _claimed(stage=EXTRACTING), _claimed(stage=EMBEDDING)
    freed = moves.end_leases([idle, first, second], POLICY, lambda: WRITE)
    assert [(each.status, each.attempts, each.error) for each in freed] == [(PENDING, 0, None)] * 3
    assert [each.stage for each in freed] == [QUEUED, SUSPECT_ALONE, SUSPECT_ALONE]


def test_of_many_in_work_with_a_lost_worker_each_is_to_run_with_few_others():
    freed = moves.end_leases([_claimed(stage=EXTRACTING)] * 9, POLICY, lambda: WRITE)
    assert [(each.stage, each.attempts) for each in freed] == [(SUSPECT, 0)] * 9


def test_the_only_one_in_work_with_a_lost_worker_is_charged():
    idle, killer = moves.end_leases([_claimed(), _claimed(stage=EXTRACTING)], POLICY, lambda: WRITE)
    assert (idle.attempts, killer.attempts, killer.stage) == (0, 1, SUSPECT_ALONE)


def test_suspect_stays_one_until_it_was_tried_alone():
    suspect = moves.end_lease(_claimed(stage=EXTRACTING), POLICY, WRITE, begun=2)
    claimed = moves.claim(suspect, claim_id="c2", worker="w2", write=WRITE)
    assert (claimed.stage, claimed.begun) == (SUSPECT_ALONE, False)
    assert moves.release(claimed, WRITE).stage == SUSPECT_ALONE
    begun = moves.progressed(claimed, stage=EXTRACTING, progress=1, write=WRITE)
    assert begun.begun
    assert _settle(begun, Retry(TIMEOUT)).stage == QUEUED


def test_ended_lease_of_the_last_attempt_fails():
    ended = moves.end_lease(_claimed(stage=EXTRACTING, attempts=POLICY.max_attempts), POLICY, WRITE)
    assert (ended.status, ended.attempts) == (FAILED, POLICY.max_attempts)


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_retry_waits_and_counts(attempts: int):
    waiting = _settle(_claimed(attempts=attempts), Retry(TIMEOUT))
    pause = POLICY.delay_seconds(attempts, seed=str(waiting.record_id))
    assert waiting.next_attempt_at == LATER + timedelta(seconds=pause)
    assert (waiting.attempts, waiting.retries_total, waiting.error) == (attempts, 1, TIMEOUT)


def test_retry_at_the_cap_fails():
    failed = _settle(_claimed(attempts=4), Retry(TIMEOUT))
    assert (failed.status, failed.attempts, failed.retries_total) == (FAILED, 4, 0)
    assert _settle(_claimed(attempts=3), Retry(TIMEOUT)).status is PENDING


@pytest.mark.parametrize("category", FailureCategory)
def test_category_decides_what_a_retry_becomes(category: FailureCategory):
    moved = _settle(_claimed(), Retry(Failure(category, "Why.")))
    match remedy(category):
        case Remedy.NEVER:
            assert moved.status is FAILED
        case Remedy.RETRY:
            assert (moved.status, moved.attempts) == (PENDING, 1)
        case Remedy.SNOOZE:
            assert (moved.status, moved.attempts) == (PENDING, 0)
    assert is_permanent(category) == (remedy(category) is Remedy.NEVER)


@pytest.mark.parametrize("category", FailureCategory)
def test_processors_outcome_of_a_failure_follows_its_category(category: FailureCategory):
    failure = Failure(category, "Why.")
    assert outcome_of(failure) == (Failed(failure) if is_permanent(category) else Retry(failure))


def test_snooze_keeps_an_older_error_unless_it_has_its_own():
    held = _claimed(error=TIMEOUT, last_error_at=START)
    assert (_settle(held, Snooze(9)).error, _settle(held, Snooze(9)).last_error_at) == (TIMEOUT, START)
    full = Failure(FailureCategory.STORE_UNAVAILABLE, "Full.")
    assert _settle(held, Snooze(9, full)).error == full


def test_completion_leaves_no_error():
    done = _settle(_claimed(error=TIMEOUT, last_error_at=START), Done(Result(chunks=3)))
    assert (done.error, done.last_error_at, done.result) == (None, None, Result(chunks=3))
    assert (done.ended_at, done.progress) == (LATER, 100)


def test_failed_and_cancelled_records_keep_their_stage():
    held = _claimed(stage=EXTRACTING)
    assert _settle(held, Failed(TIMEOUT)).stage == EXTRACTING
    assert moves.cancel(held, WRITE).stage == EXTRACTING


def test_reopened_record_starts_anew_but_remembers_its_retries():
    failed = _settle(_claimed(attempts=4, retries_total=3), Failed(TIMEOUT))
    reopened = moves.reopen(failed, batch_round=7, write=WRITE)
    assert (reopened.attempts, reopened.retries_total, reopened.round) == (0, 4, 7)
    assert (reopened.error, reopened.ended_at, reopened.next_attempt_at) == (None, None, LATER)


def test_progress_is_no_move():
    held = _claimed()
    shown = moves.progressed(held, stage=EXTRACTING, progress=30, write=WRITE)
    assert (shown.status, shown.stage, shown.progress, shown.claim) == (
        PROCESSING,
        EXTRACTING,
        30,
        held.claim,
    )
    assert shown.version > held.version


def test_outcome_meets_its_own_claim_and_older_rows_only():
    held = _claimed()
    report = Report(held, Done())
    shown = moves.progressed(held, stage=EXTRACTING, progress=30, write=WRITE)
    assert moves.meets(None, report)
    assert moves.meets(held, report)
    assert moves.meets(shown, report)
    assert moves.meets(builders.record(), report)
    for newer in [
        _settle(held, Done()),
        _settle(held, Retry(TIMEOUT)),
        moves.release(held, WRITE),
        moves.cancel(held, WRITE),
        replace(held, claim_id="c2", version=replace(held.version, epoch=2)),
        replace(held, claim_id=None, version=replace(held.version, round=1)),
        replace(held, claim_id=None, version=Version(tombstone=True)),
    ]:
        assert not moves.meets(newer, report)


def test_claims_go_by_priority_then_age_then_id():
    def order(minutes: float, priority: int, item_id: str = "a") -> tuple[int, object]:
        created_at = START + timedelta(minutes=minutes)
        return claim_order(builders.record(created_at=created_at, priority=priority, item_id=item_id))

    assert order(0, 0) < order(1, 0)
    assert order(0, 1) < order(0, 0)
    assert order(9.9, 1) < order(0, 0) < order(10.1, 1)
    assert order(0, -1) > order(9.9, 0)
    ids = [builders.record(item_id=item_id).record_id for item_id in "ab"]
    assert (order(0, 0, "a") < order(0, 0, "b")) == (ids[0] < ids[1])


def test_failure_is_permanent_by_category_or_by_spent_attempts():
    assert is_permanently_failed(FailureCategory.ENCRYPTED, 1, 4)
    assert is_permanently_failed(FailureCategory.TIMEOUT, 4, 4)
    assert not is_permanently_failed(FailureCategory.TIMEOUT, 3, 4)
