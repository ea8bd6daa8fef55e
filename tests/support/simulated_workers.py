"""Workers of the engine's making, without a process: their leases are real, what they do with records is told."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import UUID

from gristmill.domain.events import BatchEnded
from gristmill.domain.record import Outcome, Record, Report
from gristmill.engine.announce import Announcer
from gristmill.engine.lease import Lease
from gristmill.engine.worker import Worker, WorkerOptions
from gristmill.ports.processor import Processed, ShowStage
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.engine_facts import Key, key_of
from tests.support.watched_batches import WatchedBatches

NEVER_BY_TIME = 1e9


@dataclass
class Scripted:
    """Outcomes in turn; an item whose turn is None is forgotten."""

    kind: str
    outcomes: Sequence[Outcome | None]

    async def process(self, records: Sequence[Record], show_stage: ShowStage) -> AsyncIterator[Processed]:
        await show_stage(records, "working", 10)
        for number, record in enumerate(records):
            outcome = self.outcomes[number % len(self.outcomes)]
            if outcome is not None:
                yield Processed(record, outcome)


@dataclass
class SimulatedWorker:
    """``held`` is what it believes to hold; a frozen one believes it for as long as it is frozen."""

    name: str
    batches: WatchedBatches
    clock: ManualClock
    kinds: Sequence[str]
    lives: int = 1
    frozen: bool = False
    held: dict[Key, Record] = field(default_factory=dict)
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        identity = builders.worker(f"{self.name}.{self.lives}", self.clock.now())
        self.lease = Lease(self.batches, identity, clock=self.clock)

    @property
    def worker_id(self) -> str:
        return self.lease.worker.worker_id

    def dies(self) -> None:
        """Whoever comes next has another id and knows nothing of what it held."""
        self.held, self.frozen, self.lives = {}, False, self.lives + 1
        self.__post_init__()

    async def begins(self) -> None:
        """As the engine begins, and begins anew after a lost lease: with nothing in hand."""
        self.held = {}
        await self.lease.give_up()
        await self.lease.take()
        assert not self.batches.model.held_by(self.worker_id), "it holds what it knows nothing of"

    async def claims(self, limit: int, kinds: Sequence[str] | None, batch_id: UUID | None) -> list[Record]:
        claimed = await self.batches.claim_records(
            self.worker_id, limit=limit, kinds=kinds, batch_id=batch_id
        )
        self.held |= {key_of(record): record for record in claimed}
        return list(claimed)

    def picks(self, share: Iterable[int]) -> list[Record]:
        """Some of what it holds: those at these places."""
        places = set(share)
        return [record for place, record in enumerate(self.held.values()) if place in places]

    def drops(self, records: Iterable[Record]) -> None:
        for record in records:
            self.held.pop(key_of(record), None)

    async def reports(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
        self.drops(records)
        await self.batches.update_processing_status(
            [Report(record, outcomes[place % len(outcomes)]) for place, record in enumerate(records)]
        )

    async def releases(self, records: Sequence[Record]) -> None:
        self.drops(records)
        await self.batches.release_records(records)

    async def ends(self) -> None:
        """In order: what it holds is given back, whatever the clock says."""
        await self.lease.give_up()
        assert not self.batches.model.held_by(self.worker_id)
        self.dies()

    async def runs_once(
        self,
        outcomes: Sequence[Outcome | None],
        told: list[BatchEnded],
        *,
        batch_id: UUID | None,
        group: int,
        per_write: int,
    ) -> None:
        """One group through the engine's own worker; it keeps nothing of it."""
        options = WorkerOptions(
            group_records=group, outcomes_per_write=per_write, write_every_seconds=NEVER_BY_TIME
        )
        worker = Worker(
            SimpleNamespace(batches=self.batches),
            {kind: Scripted(kind, outcomes) for kind in self.kinds},
            clock=self.clock,
            lease=self.lease,
            options=options,
            announcer=Announcer(self.batches, [told.append]),
        )
        before = set(self.batches.model.held_by(self.worker_id))
        await worker.run_once(batch_id)
        assert set(self.batches.model.held_by(self.worker_id)) <= before
