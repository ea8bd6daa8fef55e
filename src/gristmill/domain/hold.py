"""Holding a batch: one cause that is not the items' own stops it before it spends their attempts.

A provider that refuses every request or a model that does not load fails a whole batch. That is no matter for the
batch's tolerance: its work waits, and now and then one item is tried to see whether the cause is gone.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Outcome, Retry, Snooze

HOLD_AFTER = 20

_COMMON_CAUSES = frozenset(
    category
    for category in FailureCategory
    if category.value.startswith(("provider_", "store_")) and category is not FailureCategory.PROVIDER_INPUT
)


@dataclass(frozen=True, slots=True)
class Hold:
    """``streak`` records in a row failed of one ``cause``; from HOLD_AFTER on the batch is held.

    ``since`` and ``until`` are None while it is not held; from ``until`` on a worker may try again.
    """

    streak: int = 0
    cause: FailureCategory | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None

    @property
    def held(self) -> bool:
        return self.since is not None

    def stops(self, now: datetime) -> bool:
        """Whether nothing of the batch may be claimed now."""
        return self.until is not None and now < self.until


NOT_HELD = Hold()


def after(hold: Hold, outcome: Outcome, *, now: datetime, pause_seconds: float) -> Hold:
    """The hold after one more outcome of the batch; an item that got through ends it."""
    if isinstance(outcome, Done):
        # What was stored already says nothing of the cause.
        return hold if outcome.result.reused else NOT_HELD
    failure = of_common_cause(outcome)
    if failure is None:
        return hold
    streak = hold.streak + 1 if failure.category is hold.cause else 1
    hold = replace(hold, streak=streak, cause=failure.category)
    if streak < HOLD_AFTER and not hold.held:
        return hold
    until = now + timedelta(seconds=pause_seconds)
    return replace(hold, since=hold.since or now, until=until, reason=failure.message)


def of_common_cause(outcome: Outcome) -> Failure | None:
    """The failure, if its cause is common to all items: what costs no attempt, and what providers and stores refuse."""
    match outcome:
        case Snooze(_, failure):
            return failure
        case Retry(failure) | Failed(failure) if failure.category in _COMMON_CAUSES:
            return failure
        case _:
            return None
