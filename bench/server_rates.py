"""How fast records go through PostgreSQL and Qdrant: ours, and what a plain client does, in turns."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench import engine_work, plain_postgres, plain_qdrant, plain_sqlite
from bench.context import say
from bench.engine_rates import Rates
from bench.product import UnexpectedError
from bench.servers import Servers
from gristmill.domain.record import Item
from gristmill.engine.submit import SLICE_ITEMS
from gristmill.ports.database import Database


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement of each, one after the other; ``plain_qdrant`` are points upserted a second.

    ``alone`` is PostgreSQL with as many records as Qdrant and ``both`` get.
    """

    postgres: Rates
    plain_postgres: Rates
    qdrant: Rates
    plain_qdrant: float
    alone: Rates
    both: Rates

    @property
    def both_beside_slower(self) -> float:
        """Submitted, claimed and completed with failover, as a share of the slower of the two alone."""
        return self.both.through / min(self.alone.through, self.qdrant.through)


def measure(servers: Servers, *, records: int, points: int, repeats: int) -> list[Turn]:
    """``records`` through PostgreSQL, ``points`` through Qdrant."""
    rows = plain_sqlite.rows_of(list(engine_work.items(records)))
    return [_turn(servers, rows, list(engine_work.items(points)), number) for number in range(repeats)]


def _turn(servers: Servers, rows: Sequence[plain_sqlite.Row], items: Sequence[Item], number: int) -> Turn:
    say(f"{len(rows):,} records through PostgreSQL and {len(items):,} through Qdrant, turn {number + 1}")
    return Turn(
        plain_postgres=_plain_postgres(servers, rows),
        postgres=asyncio.run(through(servers.postgresql(), len(rows))),
        plain_qdrant=asyncio.run(_plain_qdrant(servers, items)),
        qdrant=asyncio.run(through(servers.qdrant(), len(items))),
        alone=asyncio.run(through(servers.postgresql(), len(items))),
        both=asyncio.run(through(servers.both(), len(items))),
    )


async def through(opening: AbstractAsyncContextManager[Database], records: int) -> Rates:
    """Records submitted, then claimed and completed, through the batch port."""
    async with opening as database:
        started = time.perf_counter()
        await engine_work.submit_items(database, records)
        submitted = time.perf_counter()
        done = await engine_work.claim_and_complete(database)
        return _rates(records, done, started, submitted)


def _plain_postgres(servers: Servers, rows: Sequence[plain_sqlite.Row]) -> Rates:
    with plain_postgres.opened(servers.postgres_url()) as connection:
        started = time.perf_counter()
        plain_postgres.copy(connection, rows, group=SLICE_ITEMS)
        copied = time.perf_counter()
        done = plain_postgres.claim_and_complete(connection, engine_work.KIND, group=engine_work.GROUP)
        return _rates(len(rows), done, started, copied)


async def _plain_qdrant(servers: Servers, items: Sequence[Item]) -> float:
    points = plain_qdrant.points_of(plain_sqlite.records_of(items))
    async with plain_qdrant.opened(servers.qdrant_url) as (client, collection):
        started = time.perf_counter()
        await plain_qdrant.upsert(client, collection, points)
        return len(points) / (time.perf_counter() - started)


def _rates(records: int, done: int, started: float, submitted: float) -> Rates:
    ended = time.perf_counter()
    if done != records:
        raise UnexpectedError(f"{done} of {records} records were completed")
    return Rates(records / (submitted - started), records / (ended - submitted))
