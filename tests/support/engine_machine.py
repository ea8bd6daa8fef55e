"""Random histories of the engine: submitters, three workers, users and clocks that jump do what they like."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs

from gristmill.domain.batch import NewBatch
from gristmill.domain.events import BatchEnded
from gristmill.domain.identity import BadItemIdError, end_event_id
from gristmill.domain.record import Item, Record, Report
from gristmill.engine.announce import Announcer
from gristmill.engine.submit import submit
from gristmill.ports.errors import BatchConflictError, BatchNotFoundError
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.support.clocks import ManualClock
from tests.support.engine_strategies import (
    BATCHES,
    CLAIMS_KEPT,
    KINDS,
    batch_ids,
    categories,
    few,
    maybe_batch_ids,
    outcomes,
    scripts,
    shares,
    waits,
    workers,
)
from tests.support.simulated_workers import SimulatedWorker
from tests.support.watched_batches import WatchedBatches

DEEDS: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []


def deed(*, often: int = 1, **arguments: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """What may be done next.

    All deeds are of one rule: of many rules Hypothesis leaves out a part in each history, and the few histories that
    run every time would hardly get anywhere.
    """

    def note(method):
        DEEDS.extend([st.tuples(st.just(method.__name__), st.fixed_dictionaries(arguments))] * often)
        return method

    return note


class EngineMachine(RuleBasedStateMachine):
    """``open_database`` gives an empty database on ``self.clock``."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.clock = ManualClock()
        self.database = self.run(self.open_database())
        self.batches = WatchedBatches(self.database.batches, self.clock)
        self.workers = {
            name: SimulatedWorker(name, self.batches, self.clock, KINDS) for name in ["w1", "w2", "w3"]
        }
        self.model = self.batches.model
        self.claims: list[Record] = []  # Every claim there was, lost or not.
        self.told: list[BatchEnded] = []

    async def open_database(self) -> MemoryDatabase | SqlDatabase:
        raise NotImplementedError

    def run(self, work):
        with capture_logs():
            return self.loop.run(work)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.loop.close()

    def on(self, batch_id: UUID, work):
        """The answer, or None for a batch that is not there: that is an error, never an empty answer."""
        if batch_id in self.model.batches:
            return self.run(work)
        with pytest.raises(BatchNotFoundError):
            self.run(work)
        return None

    def ready(self, name: str) -> SimulatedWorker:
        """The worker, after it has noticed that its lease is lost, if it is: the engine looks before it works."""
        worker = self.workers[name]
        if worker.lease.is_lost or worker.worker_id not in self.model.workers:
            self.run(worker.begins())
        return worker

    @invariant()
    def everything_acknowledged_is_there_and_adds_up(self) -> None:
        self.run(self.batches.check_what_was_done())

    @rule(chosen=st.deferred(lambda: st.one_of(DEEDS)))
    def do(self, chosen) -> None:
        name, arguments = chosen
        getattr(self, name)(**arguments)

    # -- submission ----------------------------------------------------------------------------------

    @initialize(counts=st.tuples(st.integers(1, 45), st.integers(0, 10)), seal=st.booleans())
    def first_batches(self, counts, seal) -> None:
        for batch_id, count, kind in zip(BATCHES[:2], counts, KINDS, strict=True):
            self.create(batch_id, kind, 0, None, "somebody")
            self.stream(batch_id, 0, count, kind, seal)

    @deed(
        batch_id=batch_ids,
        kind=st.sampled_from(KINDS),
        priority=st.integers(-1, 2),
        tolerance=st.sampled_from([None, 10.0, 50.0]),
        submitter=st.sampled_from(["somebody", "another"]),
    )
    def create(self, batch_id, kind, priority, tolerance, submitter) -> None:
        if batch_id not in self.model.batches:
            # Claims on what an earlier batch of this id held are days old: nobody reports them any more (B3).
            self.claims = [claim for claim in self.claims if claim.batch_id != batch_id]
            for worker in self.workers.values():
                worker.drops([claim for claim in worker.held.values() if claim.batch_id == batch_id])
        new = NewBatch(batch_id, kind, priority=priority, max_error_rate=tolerance, submitter=submitter)
        self.run(self.batches.create_batch(new))

    @deed(
        batch_id=batch_ids,
        first=st.integers(0, 20),
        count=st.integers(0, 30),
        kind=st.sampled_from(KINDS),
        seal=st.booleans(),
    )
    def stream(self, batch_id, first, count, kind, seal) -> None:
        items = [Item(f"item-{number:03}", kind) for number in range(first, first + count)]
        if self.others_than_were_sealed(batch_id, items):
            with pytest.raises(BatchConflictError):
                self.run(self.batches.create_processing_records(batch_id, items))
        elif seal:
            self.on(batch_id, submit(self.batches, batch_id, items))
        else:
            self.on(batch_id, self.batches.create_processing_records(batch_id, [*items, *items[:3]]))

    def others_than_were_sealed(self, batch_id, items) -> bool:
        sealed = batch_id in self.model.batches and self.model.batches[batch_id].sealed
        return sealed and any((batch_id, item.item_id) not in self.model.records for item in items)

    @deed(bad=st.sampled_from(["", "  ", "x" * 501, "a\x00b", "\ud800", None, 7]), batch_id=batch_ids)
    def ask_for_what_is_not_there_or_cannot_be(self, bad, batch_id) -> None:
        if batch_id in self.model.batches:
            items = [Item("item-090", "documents"), Item(bad, "documents")]
            with pytest.raises(BadItemIdError):
                self.run(self.batches.create_processing_records(batch_id, items))
        else:
            assert self.run(self.batches.get_batch(batch_id)) is None
            for ask in [
                "seal_batch",
                "retry_failed",
                "cancel_batch",
                "batch_status_view",
                "get_error_groups",
            ]:
                self.on(batch_id, getattr(self.batches, ask)(batch_id))

    # -- workers -------------------------------------------------------------------------------------

    @deed(
        often=4,
        name=workers,
        wait=waits,
        claim=st.fixed_dictionaries(
            {
                "limit": st.sampled_from([1, 3, 8, 100]),
                "kinds": st.sampled_from([None, None, ["prices"], KINDS]),
                "batch_id": maybe_batch_ids,
            }
        ),
        begun=shares,
        reported=few,
        released=few,
        script=scripts,
        repeated=st.booleans(),
    )
    def work(self, name, wait, claim, begun, reported, released, script, repeated) -> None:
        """Claim, show a stage of some, report some and give some back; the others stay held.

        A worker that did not hear that its report was stored repeats it.
        """
        self.clock.advance(wait)
        if self.workers[name].frozen:
            return
        worker = self.ready(name)
        claimed = self.run(worker.claims(**claim))
        self.claims = [*self.claims, *claimed][-CLAIMS_KEPT:]
        self.run(self.batches.record_stages(worker.picks(begun), stage="working", progress=40))
        done = worker.picks(reported)
        for _ in range(2 if repeated else 1):
            self.run(worker.reports(done, script))
        self.run(worker.releases(worker.picks(released)))

    @deed(
        often=3,
        name=workers,
        script=st.one_of(scripts, st.lists(st.one_of(st.none(), outcomes), min_size=1, max_size=3)),
        batch_id=maybe_batch_ids,
        groups=st.lists(st.tuples(waits, st.sampled_from([2, 30, 60])), min_size=1, max_size=4),
        per_write=st.sampled_from([9, 64]),
    )
    def run_groups(self, name, script, batch_id, groups, per_write) -> None:
        """By the engine's own worker, which also stops and ends batches."""
        for wait, group in groups:
            self.clock.advance(wait)
            if not self.workers[name].frozen:
                worker, size = self.ready(name), {"group": group, "per_write": per_write}
                self.run(worker.runs_once(script, self.told, batch_id=batch_id, **size))

    @deed(often=2, places=st.lists(st.integers(0, CLAIMS_KEPT - 1), min_size=1, max_size=4), script=scripts)
    def come_late_and_twice(self, places, script) -> None:
        """Outcomes and releases of claims long lost, or not: each counts once and only if it is held."""
        claims = [self.claims[place % len(self.claims)] for place in places if self.claims]
        reports = [Report(claim, outcome) for claim in claims for outcome in script * 2]
        self.run(self.batches.update_processing_status(reports))
        self.run(self.batches.release_records(claims * 2))
        assert not self.run(self.batches.record_stages(claims, stage="working", progress=50))

    @deed(
        name=workers,
        fate=st.sampled_from(["renew", "die", "die", "end", "lose an answer", "freeze", "thaw"]),
        script=scripts,
    )
    def live_or_die(self, name, fate, script) -> None:
        worker = self.workers[name]
        if fate == "die":
            worker.dies()
        elif fate == "freeze":
            worker.frozen = True
        elif worker.frozen:  # Thawed, it reports before it looks at its lease.
            worker.frozen = False
            self.run(worker.reports(list(worker.held.values()), script))
        elif fate == "end":
            self.run(worker.ends())
        elif (
            fate == "lose an answer"
        ):  # Started again under its id, it takes back what it knows nothing of (C2).
            self.run(self.batches.claim_records(self.ready(name).worker_id, limit=5))
            self.run(worker.begins())
        else:
            self.run(self.ready(name).lease.renew())

    @deed(name=workers, wait=st.sampled_from([0, 11, 17, 31]))
    def take_back_from_those_that_are_gone(self, name, wait) -> None:
        """Nobody loses records who may still write their outcomes."""
        watching = self.workers[name]
        if not watching.frozen:
            self.run(self.ready(name).lease.take_back_from_gone_workers())
            self.clock.advance(wait)
            held = {each.name: self.model.held_by(each.worker_id) for each in self.workers.values()}
            self.run(watching.lease.take_back_from_gone_workers())
            for each in self.workers.values():
                assert each.lease.is_lost or self.model.held_by(each.worker_id) == held[each.name]

    @deed()
    def start_the_database_anew(self) -> None:
        self.run(self.open_anew())

    async def open_anew(self) -> None:
        """Nothing to do where what is held ends with its process."""

    # -- time and users ------------------------------------------------------------------------------

    @deed(
        seconds=st.sampled_from([0.000_001, 17, 61, 3_600, 8 * 86_400]),
        jump=st.sampled_from([0, 0, 3_600, -40, -7_200]),
    )
    def pass_time(self, seconds, jump) -> None:
        self.clock.advance(seconds)
        self.clock.set_forward(timedelta(seconds=jump))

    @deed(
        often=2,
        batch_id=batch_ids,
        chosen=st.one_of(st.none(), st.none(), st.sets(categories, min_size=4)),
        permanent=st.booleans(),
    )
    def retry(self, batch_id, chosen, permanent) -> None:
        """In one batch, and wherever something failed."""
        failed = {key[0] for key, fact in self.model.records.items() if fact.status == "failed"}
        for each in sorted({batch_id, *failed}):
            self.on(each, self.batches.retry_failed(each, categories=chosen, permanent=permanent))

    @deed(batch_id=batch_ids, message=st.sampled_from([None, "Too many failed."]), sure=st.booleans())
    def cancel(self, batch_id, message, sure) -> None:
        if not sure:  # Little happens to a batch after it, so it is done seldom.
            self.on(batch_id, self.batches.cancel_batch(batch_id, error_message=message))

    @deed(
        chosen=st.one_of(st.none(), st.lists(batch_ids, max_size=2)),
        fails=st.booleans(),
        days=st.sampled_from([None, 0, 7]),
    )
    def end_tell_and_clean_up(self, chosen, fails, days) -> None:
        """Each end is told under its own id, until every listener has heard of it."""
        self.run(self.batches.end_batches(chosen))
        waiting = [of for of, told in self.model.events.items() if not told]
        self.told.clear()
        listeners = [self.told.append, fail_on_purpose] if fails else [self.told.append]
        delivered = self.run(Announcer(self.batches, listeners).deliver())
        assert sorted(event.event_id for event in self.told) == sorted(end_event_id(*of) for of in waiting)
        assert delivered == (0 if fails else len(waiting))
        if days is not None:
            counted = self.run(self.batches.cleanup_old_records(timedelta(days=days), apply=False))
            assert self.run(self.batches.cleanup_old_records(timedelta(days=days), apply=True)) == counted


def fail_on_purpose(_event: BatchEnded) -> None:
    raise ValueError("on purpose")
