"""What wiring puts together and commands and insights work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.fusion import TEXT_WEIGHT, VECTOR_WEIGHT, Fusion
from gristmill.domain.retry import RetryPolicy
from gristmill.engine.announce import Announcer, Listener
from gristmill.engine.lease import Lease
from gristmill.engine.liveness import this_process
from gristmill.engine.worker import Worker, WorkerOptions
from gristmill.ports.clock import Clock
from gristmill.ports.database import Database
from gristmill.ports.embedder import Embedder
from gristmill.ports.executor import Executor
from gristmill.ports.processor import Processor


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Weights are scaled to a sum of 1; ``leg_hits`` is how many hits of each leg are fused."""

    fusion: Fusion = Fusion.RELATIVE
    text_weight: float = TEXT_WEIGHT
    vector_weight: float = VECTOR_WEIGHT
    leg_hits: int = 200


@dataclass(frozen=True, slots=True)
class Core:
    """``load_embedder`` loads the model on first use; a search of text alone never needs it."""

    database: Database
    processors: Mapping[str, Processor]
    executor: Executor
    clock: Clock
    embedding: EmbeddingIdentity
    load_embedder: Callable[[], Embedder]
    pipeline: str
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    search: SearchOptions = field(default_factory=SearchOptions)
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    listeners: list[Listener] = field(default_factory=list)

    async def open(self) -> None:
        await self.database.open()

    async def close(self) -> None:
        await self.executor.close()
        await self.database.close()

    def new_worker(self) -> Worker:
        options = self.worker
        identity = this_process(now=self.clock.now(), lease_seconds=options.lease_seconds)
        return Worker(
            self.database,
            self.processors,
            clock=self.clock,
            lease=Lease(self.database.batches, identity, clock=self.clock),
            options=options,
            announcer=self.announcer,
        )

    @property
    def announcer(self) -> Announcer:
        return Announcer(self.database.batches, self.listeners)

    async def end_batches(self, *batch_ids: UUID) -> None:
        """End what may end of these, and tell the listeners."""
        if await self.database.batches.end_batches(batch_ids):
            await self.announcer.deliver()
