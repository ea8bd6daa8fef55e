"""How fast records go through PostgreSQL, ours and plain psycopg in turns: ``python -m bench.postgres_rates RECORDS TURNS``."""

import asyncio
import statistics
import sys
import time

from bench import engine_work, plain_postgres, plain_sqlite
from bench.engine_rates import Rates
from bench.product import UnexpectedError
from gristmill.engine.submit import SLICE_ITEMS
from gristmill.ports.clock import SystemClock
from tests.support.postgres_databases import PostgresHost, postgres_host


def measure(host: PostgresHost, *, records: int, turns: int) -> list[tuple[Rates, Rates]]:
    """Ours and the plain one, of each turn."""
    rows = plain_sqlite.rows_of(list(engine_work.items(records)))
    return [(asyncio.run(_ours(host, records)), _plain(host, rows)) for _ in range(turns)]


def _plain(host: PostgresHost, rows: list[plain_sqlite.Row]) -> Rates:
    url = host.server(host.create()).url.render_as_string(hide_password=False)
    with plain_postgres.opened(url) as connection:
        started = time.perf_counter()
        plain_postgres.copy(connection, rows, group=SLICE_ITEMS)
        copied = time.perf_counter()
        done = plain_postgres.claim_and_complete(connection, engine_work.KIND, group=engine_work.GROUP)
        return _rates(len(rows), done, started, copied)


async def _ours(host: PostgresHost, records: int) -> Rates:
    async with host.attached(host.create(), SystemClock()) as database:
        started = time.perf_counter()
        await engine_work.submit_items(database, records)
        submitted = time.perf_counter()
        done = await engine_work.claim_and_complete(database)
        return _rates(records, done, started, submitted)


def _rates(records: int, done: int, started: float, submitted: float) -> Rates:
    ended = time.perf_counter()
    if done != records:
        raise UnexpectedError(f"{done} of {records} records were completed")
    return Rates(records / (submitted - started), records / (ended - submitted))


def main(records: int, turns: int) -> None:
    with postgres_host() as host:
        measured = measure(host, records=records, turns=turns)
    for name in ("submit", "work"):
        ours, plain = ([getattr(each[side], name) for each in measured] for side in (0, 1))
        shares = [mine / other for mine, other in zip(ours, plain, strict=True)]
        print(
            f"{name:8}{statistics.median(ours):10,.0f}/s  plain {statistics.median(plain):10,.0f}/s  ", end=""
        )
        print(f"share {statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
