"""The one table of record moves, and the functions that apply them. Stores never decide states."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gristmill.domain.failures import Failure, FailureCategory, Remedy, remedy
from gristmill.domain.record import (
    DONE,
    OPEN_STATUSES,
    QUEUED,
    SUSPECT,
    SUSPECT_ALONE,
    SUSPECTS_TOGETHER,
    Done,
    Failed,
    Outcome,
    Record,
    RecordStatus,
    Report,
    Retry,
    Snooze,
    microseconds,
)
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import Ending, Step


class Move(StrEnum):
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASE = "release"
    LEASE_END = "lease_end"
    CANCEL = "cancel"
    REOPEN = "reopen"


_PENDING, _PROCESSING = RecordStatus.PENDING, RecordStatus.PROCESSING

MOVES: dict[tuple[RecordStatus, Move], RecordStatus] = {
    (_PENDING, Move.CLAIM): _PROCESSING,
    (_PENDING, Move.CANCEL): RecordStatus.CANCELLED,
    (_PROCESSING, Move.COMPLETE): RecordStatus.COMPLETED,
    (_PROCESSING, Move.FAIL): RecordStatus.FAILED,
    (_PROCESSING, Move.RETRY): _PENDING,
    (_PROCESSING, Move.SNOOZE): _PENDING,
    (_PROCESSING, Move.RELEASE): _PENDING,
    (_PROCESSING, Move.LEASE_END): _PENDING,
    (_PROCESSING, Move.CANCEL): RecordStatus.CANCELLED,
    (RecordStatus.FAILED, Move.REOPEN): _PENDING,
}

_ENDINGS = {
    RecordStatus.COMPLETED: Ending.COMPLETED,
    RecordStatus.FAILED: Ending.FAILED,
    RecordStatus.CANCELLED: Ending.CANCELLED,
}


_NOTHING: Mapping[str, int] = {}


class IllegalMoveError(ValueError):
    """A move that the table does not have; always our own mistake, never an outage."""

    def __init__(self, status: RecordStatus, move: Move) -> None:
        super().__init__(status, move)
        self.status = status
        self.move = move

    def __str__(self) -> str:
        return f"A record that is {self.status} cannot {self.move}."


@dataclass(frozen=True, slots=True)
class Write:
    """When a write is applied and under which id; drawn anew for every application (V2)."""

    now: datetime
    write_id: str

    @property
    def stamp(self) -> int:
        return microseconds(self.now)


def _moved(
    record: Record, move: Move, write: Write, raised: Mapping[str, int] = _NOTHING, /, **changes: object
) -> Record:
    """``raised``: what the move raises in the version besides."""
    status = MOVES.get((record.status, move))
    if status is None:
        raise IllegalMoveError(record.status, move)
    fields: dict[str, object] = {
        "status": status,
        "version": record.version.moved(
            _ENDINGS.get(status, Ending.OPEN),
            Step.PENDING if status is _PENDING else Step.PROCESSING,
            stamp=write.stamp,
            write_id=write.write_id,
            **raised,
        ),
        "updated_at": write.now,
        "claim_id": None,
        "worker": None,
        "stage": QUEUED,
        "progress": 0,
    }
    if status not in OPEN_STATUSES:
        fields["ended_at"] = write.now
        fields["stage"] = record.stage
    fields.update(changes)
    return replace(record, **fields)  # type: ignore[arg-type]


def claim(record: Record, *, claim_id: str, worker: str, write: Write) -> Record:
    """Hand a pending record to a worker: one epoch and one attempt more."""
    return _moved(
        record,
        Move.CLAIM,
        write,
        {"to_epoch": record.epoch + 1},
        claim_id=claim_id,
        worker=worker,
        attempts=record.attempts + 1,
        stage=record.stage,
        started_at=record.started_at or write.now,
        ended_at=None,
    )


def take_by_hand(record: Record, *, claim_id: str, write: Write) -> Record:
    """A pending record as somebody claims it who holds no lease: of no higher epoch, so that any worker's claim beats it."""
    if record.status is not _PENDING:
        raise IllegalMoveError(record.status, Move.CLAIM)
    return replace(
        record,
        status=_PROCESSING,
        claim_id=claim_id,
        worker="by hand",
        attempts=record.attempts + 1,
        started_at=record.started_at or write.now,
        version=record.version.written(stamp=write.stamp, write_id=write.write_id),
    )


def settle(record: Record, outcome: Outcome, policy: RetryPolicy, write: Write) -> Record:
    """Apply a worker's outcome to the row it claimed."""
    match outcome:
        case Done(result):
            return _moved(
                record,
                Move.COMPLETE,
                write,
                result=result,
                stage=DONE,
                progress=100,
                error=None,
                last_error_at=None,
            )
        case Failed(failure):
            return _failed(record, failure, write)
        case Snooze(seconds, reason):
            return _waiting(record, Move.SNOOZE, write, seconds, reason, attempts=max(0, record.attempts - 1))
        case Retry(failure):
            return _retried(record, failure, policy, write)


def _retried(record: Record, failure: Failure, policy: RetryPolicy, write: Write) -> Record:
    match remedy(failure.category):
        case Remedy.NEVER:
            return _failed(record, failure, write)
        case Remedy.SNOOZE:
            pause = policy.snooze_seconds
            attempts = max(0, record.attempts - 1)
            return _waiting(record, Move.SNOOZE, write, pause, failure, attempts=attempts)
        case Remedy.RETRY:
            return _again(record, Move.RETRY, failure, policy, write)


def _again(record: Record, move: Move, failure: Failure, policy: RetryPolicy, write: Write) -> Record:
    if record.attempts >= policy.max_attempts:
        return _failed(record, failure, write)
    pause = policy.delay_seconds(record.attempts, seed=str(record.record_id))
    return _waiting(record, move, write, pause, failure, retries_total=record.retries_total + 1)


def _failed(record: Record, failure: Failure, write: Write) -> Record:
    return _moved(record, Move.FAIL, write, error=failure, last_error_at=write.now)


def _waiting(
    record: Record, move: Move, write: Write, seconds: float, failure: Failure | None, **changes: object
) -> Record:
    changes["next_attempt_at"] = write.now + timedelta(seconds=seconds)
    if failure is not None:
        changes |= {"error": failure, "last_error_at": write.now}
    return _moved(record, move, write, **changes)


def release(record: Record, write: Write, *, move: Move = Move.RELEASE) -> Record:
    """Give a claimed record back unharmed: its attempt too."""
    attempts = max(0, record.attempts - 1)
    stage = record.stage if record.stage in SUSPECTS_TOGETHER else QUEUED
    return _moved(record, move, write, attempts=attempts, next_attempt_at=write.now, stage=stage)


def end_leases(held: Sequence[Record], policy: RetryPolicy, draw: Callable[[], Write]) -> list[Record]:
    """Take back all that a worker held which is gone.

    What was never begun gives its attempt back (C2). One that alone was in work is charged, so that an item which
    kills its worker every time ends as ``crashed``. Of several nobody knows which it was: none is charged, and they
    are tried again a few at a time, then each alone.
    """
    begun = sum(record.begun for record in held)
    return [end_lease(record, policy, draw(), begun=begun) for record in held]


def end_lease(record: Record, policy: RetryPolicy, write: Write, *, begun: int = 1) -> Record:
    """Take one record back; ``begun`` is how many were in work with its worker."""
    if not record.begun:
        return release(record, write, move=Move.LEASE_END)
    if begun > 1:
        stage = SUSPECT if begun > SUSPECTS_TOGETHER[SUSPECT] else SUSPECT_ALONE
        return replace(release(record, write, move=Move.LEASE_END), stage=stage)
    failure = Failure(
        FailureCategory.CRASHED,
        f"The worker that held this item ended while it was {record.stage}; it is tried again on its own.",
    )
    ended = _again(record, Move.LEASE_END, failure, policy, write)
    return replace(ended, stage=SUSPECT_ALONE) if ended.status is RecordStatus.PENDING else ended


def cancel(record: Record, write: Write) -> Record:
    return _moved(record, Move.CANCEL, write)


def round_after(batch_round: int, of_records: int) -> int:
    """The round that an explicit retry opens; ``of_records`` is the highest one of those it reopens.

    A record may be ahead of its batch: an outcome brings its record from another database, whose batch row comes later.
    """
    return max(batch_round, of_records) + 1


def reopen(record: Record, *, batch_round: int, write: Write) -> Record:
    """An explicit retry: a new round of attempts, which beats every ending of the old one."""
    return _moved(
        record,
        Move.REOPEN,
        write,
        {"to_round": batch_round},
        attempts=0,
        retries_total=record.retries_total + 1,
        next_attempt_at=write.now,
        error=None,
        last_error_at=None,
        ended_at=None,
    )


def progressed(record: Record, *, stage: str, progress: int, write: Write) -> Record:
    """Show where a claimed record stands; not a move."""
    version = record.version.written(stamp=write.stamp, write_id=write.write_id)
    return replace(record, stage=stage, progress=progress, updated_at=write.now, version=version)


def meets(stored: Record | None, report: Report) -> bool:
    """Whether an outcome may replace the row it meets (protocol C1).

    It may unless that row, its own claim apart, is newer than the claim by the version order. An unknown row
    is no obstacle; the store checks the batch's tombstone.
    """
    if stored is None or stored.claim == report.record.claim:
        return True
    return stored.version <= report.record.version
