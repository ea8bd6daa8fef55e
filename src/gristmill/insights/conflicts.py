"""Writes to documents that lost to later ones of the other database, from the logs of both (V4)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

from gristmill.domain.conflicts import Conflict
from gristmill.insights.stores import Patience
from gristmill.ports.database import Database, ReplicatedDatabase
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.replication import Conflicts

ANOTHER = "another database"


@dataclass(frozen=True, slots=True)
class Lost:
    """``database``: the one in which what was lost was written."""

    database: str
    conflict: Conflict


@dataclass(frozen=True, slots=True)
class Listed:
    """Newest first. ``kept``: how many each database keeps; ``problems``: of those that do not answer."""

    lost: Sequence[Lost]
    kept: Mapping[str, int]
    problems: Mapping[str, str]


async def conflicts(databases: Sequence[Database], *, limit: int, patience: Patience) -> Listed:
    """Open each one and ask it. Raises ConfigurationError for one that cannot work as it is set up."""
    found: dict[str, Lost] = {}
    kept, problems = dict[str, int](), dict[str, str]()
    names = [each.name for each in databases]
    for database in databases:
        try:
            there = await _asked(cast("ReplicatedDatabase", database), limit, patience)
        except StoreUnavailableError as error:
            problems[database.name] = error.reason
            continue
        kept[database.name] = there.count
        other = next((name for name in names if name != database.name), ANOTHER)
        for each in there.newest:
            found.setdefault(each.key, Lost(database.name if each.here else other, each))
    newest = sorted(found.values(), key=attrgetter("conflict.found_at"), reverse=True)
    return Listed(newest[:limit], kept, problems)


async def _asked(database: ReplicatedDatabase, limit: int, patience: Patience) -> Conflicts:
    try:
        # One that hangs must not take as long as a migration may.
        async with asyncio.timeout(patience.probe):
            await database.check()
        async with asyncio.timeout(patience.opening):
            await database.open()
            return await database.replication.conflicts(limit=limit)
    except TimeoutError as error:
        raise StoreUnavailableError(database.name, "it did not answer in time", "") from error
