"""The engine's bookkeeping on PostgreSQL and Qdrant."""

import asyncio
from collections.abc import Sequence

from bench import engine_work, server_rates, status_updates
from bench.context import Context, say
from bench.engine_rates import of
from bench.server_rates import Turn
from bench.servers import Servers, started
from bench.tables import Cell, Measure, Requirement, Table, at_least, at_most
from gristmill.stores.qdrant.points import POINTS_A_WRITE

RECORDS = 30_000
POINTS = 4_000
LARGE = 100_000
SMALL = 1_000
QUICK_REPEATS = 1

SHARE_OF_PLAIN_POSTGRES = 0.25
SHARE_OF_PLAIN_QDRANT = 0.5
SHARE_OF_SLOWER = 1 / 1.5
TIMES_SMALL = 1.3


def run(context: Context) -> Table:
    records, points = context.size(RECORDS, quick=300), context.size(POINTS, quick=150)
    large, small = context.size(LARGE, quick=150), context.size(SMALL, quick=60)
    with started() as servers:
        turns = server_rates.measure(
            servers,
            records=records,
            points=points,
            repeats=context.size(context.repeats, quick=QUICK_REPEATS),
        )
        updates = asyncio.run(_updates(context, servers, small=small, large=large))
    rate_rows, rate_limits = _rates(turns, records, points)
    update_rows, update_limits = _ratios(updates, small=small, large=large)
    return Table(
        title="The engine's bookkeeping on PostgreSQL and Qdrant",
        method=_method(context),
        columns=("what", "Gristmill", "baseline", "Gristmill / baseline"),
        rows=[*rate_rows, *update_rows],
        requirements=[*rate_limits, *update_limits],
    )


def _method(context: Context) -> str:
    return (
        f"Median (lowest-highest). Rates: {context.repeats} turns of each on new databases, through the batch port: "
        f"submission in slices, claims of {engine_work.GROUP} and their completion. PostgreSQL (fsync on) runs on the "
        "same machine; plain psycopg has a table with the columns and indexes of ours, COPY in the same slices, claims "
        "and completes by one statement each. Qdrant is its engine behind a REST layer of our own, on the same machine; "
        f"plain qdrant-client upserts the same points, {POINTS_A_WRITE} a request, into a collection with the same payload "
        f"indexes. The outcome of one record is measured {status_updates.UPDATES} times in a small and in a large batch, in turns."
    )


def _rates(turns: Sequence[Turn], records: int, points: int) -> tuple[list[list[Cell]], list[Requirement]]:
    copy = of([turn.postgres.submit / turn.plain_postgres.submit for turn in turns], "")
    work = of([turn.postgres.work / turn.plain_postgres.work for turn in turns], "")
    both = of([turn.both_beside_slower for turn in turns], "")
    upsert = of([turn.qdrant.submit / turn.plain_qdrant for turn in turns], "")
    rows: list[list[Cell]] = [
        [
            f"PostgreSQL: submit {records:,}; COPY",
            of([turn.postgres.submit for turn in turns]),
            of([turn.plain_postgres.submit for turn in turns], "rows/s"),
            copy,
        ],
        [
            f"PostgreSQL: claim and complete {records:,}; plain SQL",
            of([turn.postgres.work for turn in turns]),
            of([turn.plain_postgres.work for turn in turns], "rows/s"),
            work,
        ],
        [
            f"Qdrant: submit {points:,}; upserts",
            of([turn.qdrant.submit for turn in turns]),
            of([turn.plain_qdrant for turn in turns], "points/s"),
            upsert,
        ],
        [f"Qdrant: claim and complete {points:,}", of([turn.qdrant.work for turn in turns]), "", ""],
        [
            f"both: submit, claim and complete {points:,}; the slower alone",
            of([turn.both.through for turn in turns]),
            of([min(turn.alone.through, turn.qdrant.through) for turn in turns]),
            both,
        ],
    ]
    return rows, [
        at_least("PostgreSQL: submits at this share of COPY or more", copy, SHARE_OF_PLAIN_POSTGRES),
        at_least(
            "PostgreSQL: claims and completes at this share of plain SQL or more",
            work,
            SHARE_OF_PLAIN_POSTGRES,
        ),
        at_least("Qdrant: submits at this share of plain upserts or more", upsert, SHARE_OF_PLAIN_QDRANT),
        at_least("both go at this share of the slower alone or more", both, SHARE_OF_SLOWER),
    ]


async def _updates(
    context: Context, servers: Servers, *, small: int, large: int
) -> dict[str, tuple[Measure, Measure]]:
    folder = context.folder("updates")
    found = {}
    for name, few, many in (
        ("SQLite", engine_work.opened(folder / "few.db"), engine_work.opened(folder / "many.db")),
        ("PostgreSQL", servers.postgresql(), servers.postgresql()),
        ("Qdrant", servers.qdrant(), servers.qdrant()),
    ):
        say(f"outcomes among {small:,} and {large:,} records on {name}")
        found[name] = await status_updates.measure(few, many, small=small, large=large)
    for path in folder.glob("*.db*"):
        path.unlink()
    return found


def _ratios(
    updates: dict[str, tuple[Measure, Measure]], *, small: int, large: int
) -> tuple[list[list[Cell]], list[Requirement]]:
    rows: list[list[Cell]] = []
    limits = []
    for name, (few, many) in updates.items():
        ratio = Measure.exact(many.median / few.median)
        rows.append([f"{name}: one outcome among {large:,}; {small:,}", many, few, ratio])
        limits.append(
            at_most(f"{name}: an outcome among {large:,} takes at most this many times", ratio, TIMES_SMALL)
        )
    return rows, limits
