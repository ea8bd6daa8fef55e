"""What every replication contract uses: rows taken across from one database to another."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.replication import Fate, Identity, Merge
from gristmill.ports.rows import Kind, Row
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.support import builders

STRANGER = Identity(uuid4(), 1)


async def owed(database: ReplicatedDatabase, *kinds: Kind, since: int = 0, limit: int = 100) -> list[Row]:
    """All owed rows (of these kinds), over as many pages as it takes."""
    rows: list[Row] = []
    after = None
    while True:
        page = await database.replication.owed(limit=limit, since=since, after=after)
        rows += page.rows
        after = page.after
        if after is None:
            return [row for row in rows if not kinds or row.kind in kinds]


async def everything(database: ReplicatedDatabase, *, limit: int = 100) -> list[Row]:
    """All rows, owed or not, over as many pages as it takes."""
    rows: list[Row] = []
    after = None
    while True:
        page = await database.replication.rows(limit=limit, after=after)
        assert len(page.rows) <= limit
        rows += page.rows
        after = page.after
        if after is None:
            return rows


async def fill(database: ReplicatedDatabase, now: datetime) -> UUID:
    """Rows of every kind: an ended batch of two records, whose id is returned, its worker, and a document."""
    batch_id = await batches.submit(database, "a", "b", seal=True)
    await database.batches.renew_lease(builders.worker("w1", now))
    await batches.complete(database, *await batches.claim(database))
    await database.batches.end_batches([batch_id])
    await documents.open_papers(database)
    await show(database, OLD)
    return batch_id


async def identity(database: ReplicatedDatabase) -> Identity:
    return (await database.replication.standing()).identity


async def merge(database: ReplicatedDatabase, *rows: Row, source: Identity = STRANGER) -> list[Merge]:
    return list((await database.replication.merge(rows, source=source)).merges)


async def pair(one: ReplicatedDatabase, two: ReplicatedDatabase) -> None:
    await one.replication.distrust(await identity(two))
    await two.replication.distrust(await identity(one))


async def take_across(one: ReplicatedDatabase, two: ReplicatedDatabase, *kinds: Kind) -> list[Merge]:
    """Merge what ``one`` owes into ``two`` and settle what is held there, as failover does."""
    rows = await owed(one, *kinds)
    merges = await merge(two, *rows, source=await identity(one))
    held = [each.row for each in merges if each.fate is Fate.HELD]
    await one.replication.settle(held, peer=await identity(two))
    return merges


async def exchange(one: ReplicatedDatabase, two: ReplicatedDatabase) -> None:
    """Until neither owes the other anything."""
    for _ in range(3):
        await take_across(one, two)
        await take_across(two, one)
        if await owed(one) == await owed(two) == []:
            return
    raise AssertionError("rows are still owed")


def of(rows: list[Row], kind: Kind) -> list[Row]:
    return [row for row in rows if row.kind is kind]


OLD = builders.version("file:///a", ["old one", "old two"], title="A", metadata={"v": 1})
NEW = builders.version("file:///a", ["new one"], title="B", metadata={"v": 2})


async def show(database: ReplicatedDatabase, *versions) -> None:
    await documents.show(database, *versions)


def redone(row: Row, **changes) -> Row:
    return replace(row, **changes)
