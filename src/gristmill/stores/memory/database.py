"""The memory database: its ports over dicts, bundled."""

from uuid import uuid4

from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.database import Health
from gristmill.stores.memory.batches import MemoryBatches
from gristmill.stores.memory.documents import MemoryDocuments
from gristmill.stores.memory.replication import MemoryReplication
from gristmill.stores.memory.tables import Tables


class MemoryDatabase:
    """For one event loop; each object is a database of its own, and what it holds ends with it."""

    def __init__(
        self,
        clock: Clock,
        *,
        retry_policy: RetryPolicy | None = None,
        name: str = "memory",
        writer: str | None = None,
    ) -> None:
        self.name = name
        self.tables = Tables(clock)
        write_ids = WriteIds(writer or uuid4().hex)
        self.batches = MemoryBatches(
            self.tables, retry_policy=retry_policy or RetryPolicy(), write_ids=write_ids
        )
        self.documents = MemoryDocuments(self.tables, write_ids=write_ids)
        self.replication = MemoryReplication(self.tables)

    async def open(self) -> None:
        """Nothing to do: the dicts are there."""

    async def close(self) -> None:
        """Nothing to do: what it holds stays until the object ends."""

    async def check(self) -> Health:
        return Health(database=self.name, ok=True, latency_seconds=0.0)

    async def tidy(self) -> None:
        """Nothing is derived."""
