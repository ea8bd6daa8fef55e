"""The Qdrant database: its ports over the collections of one server, bundled."""

import time
from uuid import UUID, uuid4

from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.clock import Clock
from gristmill.ports.database import Health
from gristmill.stores.qdrant.batches import QdrantBatches
from gristmill.stores.qdrant.connection import NAME, Connection, QdrantOptions
from gristmill.stores.qdrant.documents import QdrantDocuments
from gristmill.stores.qdrant.marks import Numbers
from gristmill.stores.qdrant.replication import QdrantReplication
from gristmill.stores.qdrant.schema import Schema


class QdrantDatabase:
    """Qdrant alone, for one event loop; any number of processes may use the same server and prefix.

    Needs Qdrant 1.16 or newer (conditional upserts). Raises ConfigurationError for options that cannot work.
    """

    name = NAME

    def __init__(
        self, options: QdrantOptions, *, clock: Clock, retry_policy: RetryPolicy | None = None
    ) -> None:
        self._connection = Connection(options)
        self._schema = Schema(self._connection)
        self.incarnation: UUID | None = None
        policy = retry_policy or RetryPolicy()
        write_ids, numbers = WriteIds(uuid4().hex[:16]), Numbers(clock)
        self.batches = QdrantBatches(
            self._connection, clock, retry_policy=policy, write_ids=write_ids, numbers=numbers
        )
        self.documents = QdrantDocuments(
            self._connection, self._schema, clock, write_ids=write_ids, numbers=numbers
        )
        self.replication = QdrantReplication(
            self._connection, self._schema, clock, retry_policy=policy, write_ids=write_ids, numbers=numbers
        )

    async def open(self) -> None:
        """Make the collections and indexes that are missing.

        Raises ConfigurationError for a refused key, a TLS mismatch, a server that is too old, or collections that
        are not ours.
        """
        self.incarnation = await self._schema.open()

    async def close(self) -> None:
        await self._connection.close()

    async def check(self) -> Health:
        started = time.perf_counter()
        problem, details = None, {"url": self._connection.options.shown_url}
        try:
            details |= await self._schema.details()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
            problem = str(error) or type(error).__name__
        return Health(
            database=self.name,
            ok=problem is None,
            latency_seconds=time.perf_counter() - started,
            details=details,
            problem=problem,
        )

    async def tidy(self) -> None:
        """Nothing is derived: Qdrant keeps its indexes itself."""
