"""New SQLite databases, quickly: the schema is made once a run and copied."""

import asyncio
import shutil
import tempfile
from functools import cache
from pathlib import Path

from gristmill.engine.comparing import all_rows, same_content
from gristmill.ports.clock import Clock
from gristmill.ports.database import ReplicatedDatabase
from gristmill.stores.sql.database import SqlDatabase
from tests.support.clocks import ManualClock


@cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="gristmill-template-")) / "gristmill.db"

    async def make() -> None:
        database = SqlDatabase(path, clock=ManualClock())
        await database.open()
        await database.close()

    asyncio.run(make())
    return path


async def new_sqlite(folder: Path, clock: Clock) -> SqlDatabase:
    """An opened database of its own; close it."""
    path = folder / "gristmill.db"
    shutil.copyfile(await asyncio.to_thread(_template), path)
    database = SqlDatabase(path, clock=clock)
    await database.open()
    return database


async def the_same_rows(one: ReplicatedDatabase, other: ReplicatedDatabase) -> None:
    """Row by row as the replication port shows them."""
    here = there = 0
    async for rows in all_rows(one):
        found = await other.replication.find(rows)
        different = [
            row.key
            for row, held in zip(rows, found, strict=True)
            if held is None or not same_content(row, held)
        ]
        assert different == []
        here += len(rows)
    async for rows in all_rows(other):
        there += len(rows)
    assert here == there
