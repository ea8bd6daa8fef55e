"""What the batch port must hold after any history of calls, told again in plain words: dicts and no moves.

``Model`` is told of every call that was acknowledged and says what is there now. It shares no rule with the product
but the length of a retry's pause and the order of claims.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from gristmill.domain.identity import record_id
from gristmill.domain.record import Done, Failed, Item, Outcome, Record, Report, Snooze
from gristmill.domain.retry import RetryPolicy
from gristmill.ports.batches import Worker
from tests.support.clocks import ManualClock
from tests.support.engine_facts import BatchFact, Fact, Key, claim_order, key_of

MAX_ATTEMPTS = 4
HELD_AFTER = 20
PROBE_AFTER = timedelta(seconds=30)
PERMANENT = {
    "unsupported_format",
    "unreadable",
    "encrypted",
    "empty",
    "no_text_layer",
    "too_large",
    "bad_input",
}
PERMANENT |= {"provider_input"}
COSTS_NOTHING = {"provider_rate", "provider_quota", "provider_auth", "provider_billing", "store_unavailable"}
OPEN = {"pending", "processing"}
NO_HOLD: dict[str, Any] = {"cause": None, "streak": 0, "held_until": None}

SUSPECTS = {"suspect", "suspect_alone"}


@dataclass
class Model:
    """``named``: records that the last call may have changed; nothing else may have."""

    clock: ManualClock
    records: dict[Key, Fact] = field(default_factory=dict)
    batches: dict[UUID, BatchFact] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    events: dict[tuple[UUID, int], bool] = field(default_factory=dict)  # Whether it was delivered.
    outlived: set[tuple[UUID, int]] = field(
        default_factory=set
    )  # Events not delivered when their batch went.
    named: set[Key] = field(default_factory=set)

    # -- submission ----------------------------------------------------------------------------------

    def create(self, batch_id: UUID, fact: BatchFact) -> None:
        stored = self.batches.get(batch_id)
        if stored is None:
            self.batches[batch_id] = fact
        elif not stored.sealed:
            self.batches[batch_id] = replace(stored, submitter=fact.submitter)

    def add(self, batch_id: UUID, items: Iterable[Item]) -> int:
        """Returns how many were not there."""
        now, batch = self.clock.now(), self.batches[batch_id]
        new = {item.item_id: item.kind for item in items if (batch_id, item.item_id) not in self.records}
        for item_id, kind in new.items():
            self._set((batch_id, item_id), Fact(kind, batch.priority, created_at=now, due=now))
        return len(new)

    def seal(self, batch_id: UUID) -> None:
        if not self.batches[batch_id].sealed:
            self._change(batch_id, sealed=True, declared=len(self.of_batch(batch_id)))

    # -- claims --------------------------------------------------------------------------------------

    def claimable(self, kinds: Collection[str] | None, batch_id: UUID | None) -> dict[Key, datetime]:
        """Pending records that may run now or later, and when, in the order of claims."""
        found = {}
        for key, fact in sorted(self.records.items(), key=claim_order):
            batch = self.batches[key[0]]
            wanted = (kinds is None or fact.kind in kinds) and batch_id in {None, key[0]}
            if wanted and fact.status == "pending" and batch.ended_at is None and not batch.stopped:
                found[key] = max(fact.due, batch.held_until or fact.due)
        return found

    def claim(self, claimed: Sequence[Record]) -> None:
        for record in claimed:
            key = key_of(record)
            fact = self.records[key]
            assert fact.status == "pending", "a record was handed out while another claim held it"
            holder = (record.claim_id or "", record.worker or "")
            self._set(
                key,
                replace(
                    fact,
                    status="processing",
                    holder=holder,
                    attempts=fact.attempts + 1,
                    epoch=fact.epoch + 1,
                ),
            )
            if not self.batches[key[0]].started:
                self._change(key[0], started=True, status="processing")

    def show(self, records: Iterable[Record], stage: str) -> list[Key]:
        held = [key_of(record) for record in records if self._holds(record)]
        for key in held:
            self._set(key, replace(self.records[key], stage=stage))
        return held

    def release(self, records: Iterable[Record]) -> int:
        released = 0
        for record in records:
            if self._holds(record):
                self._give_back(key_of(record))
                released += 1
        return released

    def take_back(self, worker_id: str, renewed_at: datetime) -> list[Key]:
        worker = self.workers.get(worker_id)
        if worker is not None and worker.renewed_at > renewed_at:
            return []
        self.workers.pop(worker_id, None)
        held = self.held_by(worker_id)
        begun = [key for key in held if self.records[key].stage not in {"queued", *SUSPECTS}]
        for key in held:
            if key not in begun:
                self._give_back(key)
            elif len(begun) > 1:
                self._give_back(key, stage="suspect" if len(begun) > 8 else "suspect_alone")
            else:
                self._try_again(key, "crashed", stage="suspect_alone")
        return held

    # -- outcomes ------------------------------------------------------------------------------------

    def settle(self, reports: Iterable[Report]) -> list[tuple[Record, Fact | None]]:
        """Returns the claims whose outcome is refused, and what each meets."""
        refused: list[tuple[Record, Fact | None]] = []
        for report in reports:
            if self._holds(report.record):
                self._apply(key_of(report.record), report.outcome)
                self._note(report.record.batch_id, report.outcome)
            else:
                refused.append((report.record, self.records.get(key_of(report.record))))
        return refused

    def _apply(self, key: Key, outcome: Outcome) -> None:
        fact = self.records[key]
        if isinstance(outcome, Done):
            self._end(key, "completed", category=None, result=outcome.result, stage="done")
        elif isinstance(outcome, Snooze):
            category = outcome.failure.category.value if outcome.failure else fact.category
            self._wait(key, outcome.seconds, category=category, attempts=fact.attempts - 1)
        elif isinstance(outcome, Failed) or outcome.failure.category in PERMANENT:
            self._end(key, "failed", category=outcome.failure.category.value)
        elif outcome.failure.category in COSTS_NOTHING:
            category = outcome.failure.category.value
            pause = PROBE_AFTER.total_seconds()
            self._wait(key, pause, category=category, attempts=fact.attempts - 1)
        else:
            self._try_again(key, outcome.failure.category.value)

    def _try_again(self, key: Key, category: str, **changes: Any) -> None:
        fact = self.records[key]
        if fact.attempts == MAX_ATTEMPTS:
            self._end(key, "failed", category=category)
            return
        pause = RetryPolicy().delay_seconds(fact.attempts, seed=str(record_id(*key)))
        self._wait(key, pause, category=category, retries=fact.retries + 1, **changes)

    def _wait(self, key: Key, seconds: float, **changes: Any) -> None:
        changes = {"stage": "queued", "due": self.clock.now() + timedelta(seconds=seconds), **changes}
        self._set(key, replace(self.records[key], status="pending", holder=None, **changes))

    def _give_back(self, key: Key, stage: str | None = None) -> None:
        fact = self.records[key]
        stage = stage or (fact.stage if fact.stage in SUSPECTS else "queued")
        self._wait(key, 0, attempts=fact.attempts - 1, stage=stage)

    def _end(self, key: Key, status: str, **changes: Any) -> None:
        self._set(key, replace(self.records[key], status=status, holder=None, **changes))

    def _note(self, batch_id: UUID, outcome: Outcome) -> None:
        """A batch is held when 20 records in a row fail of a cause that all items have in common."""
        batch = self.batches[batch_id]
        if isinstance(outcome, Done):
            if not outcome.result.reused:
                self._change(batch_id, **NO_HOLD)
            return
        if outcome.failure is None:
            return
        cause = outcome.failure.category.value
        common = cause.startswith(("provider_", "store_")) and cause != "provider_input"
        if common or isinstance(outcome, Snooze):
            streak = batch.streak + 1 if cause == batch.cause else 1
            self._change(batch_id, cause=cause, streak=streak)
            if streak >= HELD_AFTER or batch.held_until is not None:
                self._change(batch_id, held_until=self.clock.now() + PROBE_AFTER)

    # -- explicit changes ----------------------------------------------------------------------------

    def retry(self, batch_id: UUID, categories: Collection[str] | None, *, permanent: bool) -> int:
        chosen = [
            key
            for key, fact in self.of_batch(batch_id).items()
            if fact.status == "failed"
            and (categories is None or fact.category in categories)
            and (permanent or fact.category not in PERMANENT)
        ]
        if not chosen:
            return 0
        opened = self.batches[batch_id].round + 1
        self._change(batch_id, round=opened, status="processing", ended_at=None, stopped=False, message=None)
        self._change(batch_id, **NO_HOLD)
        for key in chosen:
            retries = self.records[key].retries + 1
            self._wait(key, 0, attempts=0, retries=retries, round=opened, category=None)
        return len(chosen)

    def cancel(self, batch_id: UUID, message: str | None) -> int:
        batch = self.batches[batch_id]
        if batch.ended_at is not None:
            return 0
        records = self.of_batch(batch_id)
        still_open = [key for key, fact in records.items() if fact.status in OPEN]
        for key in still_open:
            self._end(key, "cancelled")
        message = batch.message if message is None else message
        self._change(batch_id, stopped=True, sealed=True, declared=len(records), message=message)
        return len(still_open)

    def end(self, batch_ids: Collection[UUID] | None) -> set[UUID]:
        ended = set()
        for batch_id, batch in self.batches.items():
            still_open = self.counts(batch_id).keys() & OPEN
            wanted = batch_ids is None or batch_id in batch_ids
            if wanted and batch.sealed and batch.ended_at is None and not still_open:
                ended.add(batch_id)
        for batch_id in ended:
            status, round_ = self.computed_status(batch_id), self.batches[batch_id].round
            self._change(batch_id, status=status, ended_at=self.clock.now(), **NO_HOLD)
            ended_before = self.events.keys() - self.outlived
            assert (batch_id, round_) not in ended_before, "a round ended twice"
            self.events[batch_id, round_] = False
        return ended

    def computed_status(self, batch_id: UUID) -> str:
        """Of a batch that is sealed and whose records have all ended."""
        counts = self.counts(batch_id)
        if counts["cancelled"]:
            return "error" if self.batches[batch_id].message else "cancelled"
        if not counts["failed"]:
            return "completed"
        return "completed_with_errors" if counts["completed"] else "error"

    def old(self, older_than: timedelta) -> set[UUID]:
        before = self.clock.now() - older_than
        return {
            batch_id for batch_id, each in self.batches.items() if each.ended_at and each.ended_at < before
        }

    def clean_up(self, older_than: timedelta) -> None:
        for batch_id in self.old(older_than):
            del self.batches[batch_id]
            for key in [key for key in self.records if key[0] == batch_id]:
                del self.records[key]
            for of_round in [each for each in self.events if each[0] == batch_id]:
                if self.events[of_round]:
                    del self.events[of_round]
                else:
                    self.outlived.add(of_round)

    # -- looking -------------------------------------------------------------------------------------

    def of_batch(self, batch_id: UUID) -> dict[Key, Fact]:
        return {key: fact for key, fact in self.records.items() if key[0] == batch_id}

    def counts(self, batch_id: UUID) -> Counter[str]:
        return Counter(fact.status for fact in self.of_batch(batch_id).values())

    def held_by(self, worker_id: str) -> list[Key]:
        return [key for key, fact in self.records.items() if fact.holder and fact.holder[1] == worker_id]

    def _holds(self, claim: Record) -> bool:
        fact = self.records.get(key_of(claim))
        return fact is not None and fact.held_by(claim)

    def _set(self, key: Key, fact: Fact) -> None:
        self.records[key] = fact
        self.named.add(key)

    def _change(self, batch_id: UUID, **changes: Any) -> None:
        self.batches[batch_id] = replace(self.batches[batch_id], **changes)
