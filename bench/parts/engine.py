"""The engine's bookkeeping: records through the database, a backlog of a million, and memory."""

from collections.abc import Sequence
from pathlib import Path

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
# A file system in memory, where there is one: the disk is then no part of what is compared.
MEMORY = Path("/dev/shm")
IN_MEMORY = ", files in memory"


def run(context: Context) -> Table:
    records, large = context.size(RECORDS, quick=1_000), context.size(LARGE, quick=2_000)
    repeats, tasks = context.size(context.repeats, quick=QUICK_REPEATS), context.size(TASKS, quick=50)
    turns = engine_rates.measure(context.folder("engine"), records=records, tasks=tasks, repeats=repeats)
    in_memory = (
        engine_rates.measure(MEMORY, records=records, tasks=0, repeats=repeats) if MEMORY.is_dir() else []
    )
    mixed = context.size(engine_backlog.MIXED, quick=1_000)
    backlog = engine_backlog.measure(context, small=SMALL, large=large, mixed=mixed)
    rates, rate_limits = _rates(turns, records, "")
    huey, huey_limits = _huey(turns)
    faster, faster_limits = _rates(in_memory, records, IN_MEMORY) if in_memory else ([], [])
    sizes, size_limits = _sizes(backlog, large)
    return Table(
        title="The engine's bookkeeping",
        method=_method(context, large),
        columns=("what", "Gristmill", "baseline", "Gristmill / baseline"),
        rows=[*rates, *faster, huey, *sizes],
        requirements=[_valid([turns, in_memory]), *rate_limits, *faster_limits, *huey_limits, *size_limits],
    )


def _method(context: Context, large: int) -> str:
    return (
        f"Median (lowest-highest). Rates: {context.repeats} turns of every program on new files, on one file system (the disk; "
        f'with "{IN_MEMORY[2:]}" {MEMORY}, so that no disk slows either), '
        f"through the batch port: submission in slices, claims of {plain_sqlite.GROUP} and their completion. Plain sqlite3 has a table "
        "with the columns and indexes of ours, WAL, synchronous=FULL, 100 rows a transaction, and only inserts, claims by one "
        "statement and completes; a ratio is that of one turn. huey (SqliteHuey, fsync on) enqueues, dequeues, runs and "
        "stores the result of a no-op, one task at a time, as it works. Claims of "
        f"{plain_sqlite.GROUP} with {SMALL:,} and {large:,} pending take turns. The batch looked at has records in every status "
        "but cancelled. Memory is the peak of a process that submits."
    )


def _valid(places: Sequence[Sequence[Turn]]) -> Requirement:
    """A slow baseline would flatter whoever is compared with it."""
    found = [of([turn.plain.submit for turn in turns], "rows/s") for turns in places if turns]
    return Requirement(
        f"plain sqlite3 inserts {PLAIN_ROWS_A_SECOND:,} rows a second or more in one of the two places, "
        "else shares of it are INVALID",
        "; ".join(map(str, found)),
        any(each.median >= PLAIN_ROWS_A_SECOND for each in found),
    )


def _rates(turns: Sequence[Turn], records: int, place: str) -> tuple[list[list[Cell]], list[Requirement]]:
    inserted = of([turn.plain.submit for turn in turns], "rows/s")
    submit = of([turn.ours.submit / turn.plain.submit for turn in turns], "")
    work = of([turn.ours.work / turn.plain.work for turn in turns], "")
    rows: list[list[Cell]] = [
        [f"submit {records:,}{place}", of([turn.ours.submit for turn in turns]), inserted, submit],
        [
            f"claim and complete {records:,}{place}",
            of([turn.ours.work for turn in turns]),
            of([turn.plain.work for turn in turns], "rows/s"),
            work,
        ],
    ]
    return rows, [
        at_least(f"submits at this share of plain sqlite3 or more{place}", submit, SHARE_OF_PLAIN),
        at_least(f"claims and completes at this share of plain sqlite3 or more{place}", work, SHARE_OF_PLAIN),
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
