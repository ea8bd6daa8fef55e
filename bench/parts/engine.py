"""The engine's bookkeeping: records through the database, a backlog of a million, and memory."""

from collections.abc import Sequence

from bench import engine_backlog, engine_rates, plain_sqlite
from bench.context import Context
from bench.engine_backlog import Backlog
from bench.engine_rates import Turn, of
from bench.tables import Cell, Measure, Requirement, Table, at_least, at_most

RECORDS = 100_000
TASKS = 1_000
LARGE = 1_000_000
SMALL = 1_000
QUICK_REPEATS = 3

PLAIN_ROWS_A_SECOND = 50_000
SHARE_OF_PLAIN = 0.25
TIMES_HUEY = 5.0
TIMES_SMALL = 1.5
LOOK_MILLISECONDS = 100.0
MORE_MEBIBYTES = 300.0
NOT_INSTALLED = "not installed"


def run(context: Context) -> Table:
    records, large = context.size(RECORDS, quick=1_000), context.size(LARGE, quick=2_000)
    turns = engine_rates.measure(
        context,
        records=records,
        tasks=context.size(TASKS, quick=50),
        repeats=context.size(context.repeats, quick=QUICK_REPEATS),
    )
    mixed = context.size(engine_backlog.MIXED, quick=1_000)
    backlog = engine_backlog.measure(context, small=SMALL, large=large, mixed=mixed)
    rates, rate_limits = _rates(turns, records)
    sizes, size_limits = _sizes(backlog, large)
    return Table(
        title="The engine's bookkeeping",
        method=_method(context, large),
        columns=("what", "Gristmill", "baseline", "Gristmill / baseline"),
        rows=[*rates, *sizes],
        requirements=[*rate_limits, *size_limits],
    )


def _method(context: Context, large: int) -> str:
    return (
        f"Median (lowest-highest). Rates: {context.repeats} turns of every program on new files, on one file system, "
        f"through the batch port: submission in slices, claims of {plain_sqlite.GROUP} and their completion. Plain sqlite3 has a table "
        "with the columns and indexes of ours, WAL, synchronous=FULL, 100 rows a transaction, and only inserts, claims by one "
        "statement and completes; a ratio is that of one turn. huey (SqliteHuey, fsync on) enqueues, dequeues, runs and "
        "stores the result of a no-op, one task at a time, as it works. Claims of "
        f"{plain_sqlite.GROUP} with {SMALL:,} and {large:,} pending take turns. The batch looked at has records in every status "
        "but cancelled. Memory is the peak of a process that submits."
    )


def _rates(turns: Sequence[Turn], records: int) -> tuple[list[list[Cell]], list[Requirement]]:
    inserted = of([turn.plain.submit for turn in turns], "rows/s")
    submit = of([turn.ours.submit / turn.plain.submit for turn in turns], "")
    work = of([turn.ours.work / turn.plain.work for turn in turns], "")
    huey_row, huey_limits = _huey(turns)
    rows: list[list[Cell]] = [
        [f"submit {records:,}", of([turn.ours.submit for turn in turns]), inserted, submit],
        [
            f"claim and complete {records:,}",
            of([turn.ours.work for turn in turns]),
            of([turn.plain.work for turn in turns], "rows/s"),
            work,
        ],
        huey_row,
    ]
    return rows, [
        Requirement(
            f"plain sqlite3 inserts {PLAIN_ROWS_A_SECOND:,} rows a second or more, else shares of it are INVALID",
            str(inserted),
            inserted.median >= PLAIN_ROWS_A_SECOND,
        ),
        at_least("submits at this share of plain sqlite3 or more", submit, SHARE_OF_PLAIN),
        at_least("claims and completes at this share of plain sqlite3 or more", work, SHARE_OF_PLAIN),
        *huey_limits,
    ]


def _huey(turns: Sequence[Turn]) -> tuple[list[Cell], list[Requirement]]:
    through = of([turn.ours.through for turn in turns])
    what = "submit, claim and complete, beside huey"
    pairs = [(turn.ours.through, turn.huey) for turn in turns if turn.huey is not None]
    if not pairs:
        return [what, through, NOT_INSTALLED, ""], []
    ratio = of([ours / huey for ours, huey in pairs], "")
    row: list[Cell] = [what, through, of([huey for _, huey in pairs], "tasks/s"), ratio]
    return row, [at_least("this many times as fast as huey on SQLite or more", ratio, TIMES_HUEY)]


def _sizes(backlog: Backlog, large: int) -> tuple[list[list[Cell]], list[Requirement]]:
    claim = backlog.claim_of_large.median / backlog.claim_of_small.median
    memory = [
        Measure.exact(each, "MiB")
        for each in (backlog.large_memory, backlog.small_memory, backlog.large_memory - backlog.small_memory)
    ]
    ratio = Measure.exact(claim)
    rows: list[list[Cell]] = [
        [
            f"claim of 100, {large:,} pending; {SMALL:,}",
            backlog.claim_of_large,
            backlog.claim_of_small,
            ratio,
        ],
        [f"progress of a batch of {large:,}", backlog.progress, "", ""],
        [f"status view of a batch of {large:,}", backlog.view, "", ""],
        [f"peak memory of submitting {large:,}; {SMALL:,}", memory[0], memory[1], ""],
    ]
    return rows, [
        at_most(
            f"a claim with {large:,} pending takes at most this many times that with {SMALL:,}",
            ratio,
            TIMES_SMALL,
        ),
        at_most("progress takes at most this many ms", backlog.progress, LOOK_MILLISECONDS),
        at_most("the status view takes at most this many ms", backlog.view, LOOK_MILLISECONDS),
        at_most(
            f"submitting {large:,} takes at most this many MiB more than {SMALL:,}", memory[2], MORE_MEBIBYTES
        ),
    ]
