"""The engine through random histories on a simulated clock; after every call all invariants hold, on every database.

Submitters, three workers, users and clocks that jump do what they like. ``tests.support.engine_model`` keeps what was
acknowledged, ``tests.support.engine_checks`` compares.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.support.databases import new_sqlite
from tests.support.engine_machine import EngineMachine

LONG = 20 if os.environ.get("GRISTMILL_TEST_SOAK") else 1
# No process dies here, so nothing need reach a disk.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class MemoryMachine(EngineMachine):
    async def open_database(self) -> MemoryDatabase:
        return MemoryDatabase(self.clock)


class SqliteMachine(EngineMachine):
    async def open_database(self) -> SqlDatabase:
        self.folder = tempfile.TemporaryDirectory(prefix="gristmill-machine-", dir=IN_MEMORY)
        return await new_sqlite(Path(self.folder.name), self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()

    async def open_anew(self) -> None:
        await self.batches.check_what_was_done()
        await self.database.close()
        self.database = SqlDatabase(Path(self.folder.name) / "gristmill.db", clock=self.clock)
        await self.database.open()
        await self.batches.opened_anew(self.database.batches)


def repeatable(*, examples: int, steps: int) -> settings:
    """The same histories on every machine; other and longer ones when soaking."""
    return settings(
        max_examples=examples * LONG,
        stateful_step_count=steps,
        deadline=None,
        derandomize=LONG == 1,
        database=None,
        phases=[Phase.generate],  # Shrinking a history of this length takes longer than a test may.
        suppress_health_check=list(HealthCheck),
    )


TestEngineOnMemory = MemoryMachine.TestCase
TestEngineOnMemory.settings = repeatable(examples=45, steps=50)
TestEngineOnSqlite = SqliteMachine.TestCase
TestEngineOnSqlite.settings = repeatable(examples=11, steps=40)
