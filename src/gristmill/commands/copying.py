"""Copying an installation from one database to another: every row is merged there, read back and compared."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gristmill.engine.comparing import Difference, all_rows, name_of, same_content
from gristmill.engine.liveness import seems_gone
from gristmill.ports.clock import Clock
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.replication import Acting, Fate, Identity, Merge, Missing
from gristmill.ports.rows import Kind, Row, is_tombstone

SHOWN = 100
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
OnRows = Callable[[Kind, int], None]


class CopyRefusedError(ConfigurationError):
    """The two databases cannot be copied as they are; nothing was written."""


@dataclass(slots=True)
class Copied:
    """Rows that are in the target now as they are in the source, by kind, and what came out otherwise.

    ``differences`` are the first ones, ``count`` is of all. Tombstones are copied and not counted.
    """

    rows: Counter[Kind] = field(default_factory=Counter)
    count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def differs(self, kind: Kind, key: str, name: str, what: str) -> None:
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(Difference(kind, key, name, what))


async def copy(
    source: ReplicatedDatabase, target: ReplicatedDatabase, *, clock: Clock, on_rows: OnRows
) -> Copied:
    """Bring every row of ``source`` to ``target``, which is empty or was cut short in the same copy.

    The source is only read. Repeatable: what is there already is merged, which changes nothing. Until it ends well the
    target says of itself that it is half copied. ``on_rows`` hears of every page. Raises CopyRefusedError before
    anything is written, StoreUnavailableError at any time.
    """
    await _expect_nobody_at_work((source, target), now=clock.now())
    origin = await _origin(source)
    held = (await target.replication.standing()).identity
    if origin.incarnation == held.incarnation:
        raise CopyRefusedError("Both addresses are of the same database. Give another one as --to.")
    await _expect_nothing_else(source, target)
    now = clock.now()
    begun = f"the copy from {source.name} has not ended"
    await _say(target, begun, now=now, missing=Missing(None, now))
    copied = Copied()
    async for rows in all_rows(source):
        await _bring(rows, target, copied, source=origin, expects=held)
        on_rows(rows[-1].kind, sum(copied.rows.values()))
    await _count(source, target, copied)
    await target.tidy()
    if not copied.count:
        await _say(target, f"copied from {source.name}", now=clock.now(), missing=None)
    return copied


async def _origin(source: ReplicatedDatabase) -> Identity:
    standing = await source.replication.standing()
    if standing.acting.is_half_copied:
        raise CopyRefusedError(
            f"The source ({source.name}) holds an unfinished copy itself: {standing.acting.reason}. Finish that one first."
        )
    return standing.identity


async def _say(target: ReplicatedDatabase, reason: str, *, now: datetime, missing: Missing | None) -> None:
    """Of rows of term 0 the last one stays. One that was ever one of two says who serves, and keeps that."""
    known = (await target.replication.standing()).acting
    if known.term == 0:
        at = now if known.since is None else max(now, known.since + timedelta(microseconds=1))
        by = f"stores copy {at.isoformat(timespec='microseconds')}"
        await target.replication.set_acting(Acting(since=at, by=by, reason=reason, missing=missing))


async def _expect_nobody_at_work(databases: Sequence[ReplicatedDatabase], *, now: datetime) -> None:
    for database in databases:
        workers = await database.batches.list_workers()
        at_work = [each.worker_id for each in workers if not seems_gone(each, now=now)]
        if at_work:
            raise CopyRefusedError(
                f"Worker {at_work[0]} is at work on {database.name}: what it does meanwhile would be left out. "
                "Stop every worker, wait for its lease to end (30 s), and run the same command again."
            )


async def _expect_nothing_else(source: ReplicatedDatabase, target: ReplicatedDatabase) -> None:
    """A target that was cut short in this copy holds nothing that the source has not."""
    async for rows in all_rows(target):
        alive = [row for row in rows if not is_tombstone(row.body)]
        for row, found in zip(alive, await source.replication.find(alive), strict=True):
            if found is None:
                name = name_of(row.body) or row.key
                raise CopyRefusedError(
                    f"The target ({target.name}) is not empty: its {row.kind.name.lower()} {name} is not in the source ({source.name}). "
                    "Copy to an empty database; to keep two databases together, set both of them."
                )


async def _bring(
    rows: Sequence[Row], target: ReplicatedDatabase, copied: Copied, *, source: Identity, expects: Identity
) -> None:
    merged = await target.replication.merge(rows, source=source, expects=expects)
    if not merged.expected:
        raise ConfigurationError(
            f"{target.name} was replaced while it was copied to. Run the same command again."
        )
    # What has no token was dropped: no document or batch there can need it.
    stored = [merge for merge in merged.merges if merge.fate is not Fate.HELD or merge.token is not None]
    found = await target.replication.find([merge.row for merge in stored])
    for merge, there in zip(stored, found, strict=True):
        row, what = merge.row, _wrong(merge, there)
        if what is not None:
            copied.differs(row.kind, row.key, name_of(row.body), what)
        elif not is_tombstone(row.body):
            copied.rows[row.kind] += 1


def _wrong(merge: Merge, there: Row | None) -> str | None:
    if merge.fate is not Fate.HELD:
        return f"{merge.fate.value}: {merge.reason}"
    if there is None:
        return "it did not arrive"
    return None if same_content(merge.row, there) else "it differs there"


async def _count(source: ReplicatedDatabase, target: ReplicatedDatabase, copied: Copied) -> None:
    """What each counts of its own rows; also what somebody else writes to either meanwhile is seen so."""
    here, there = await _counts(source), await _counts(target)
    for kind, name in here | there:
        mine, theirs = here.get((kind, name), 0), there.get((kind, name), 0)
        if mine != theirs:
            copied.differs(kind, "", name, f"{mine} in the source, {theirs} in the target")


async def _counts(database: ReplicatedDatabase) -> dict[tuple[Kind, str], int]:
    found = await database.batches.get_processing_statistics(_EVER)
    counts = {
        (Kind.BATCH, "count"): found.batches,
        (Kind.RECORD, "count"): found.items,
        (Kind.RECORD, "completed"): found.completed,
        (Kind.RECORD, "failed"): found.failed,
        (Kind.RECORD, "cancelled"): found.cancelled,
    }
    for each in await database.documents.list_collections():
        name = each.collection.name
        counts |= {(Kind.DOCUMENT, f"of {name}"): each.documents, (Kind.CHUNKS, f"of {name}"): each.chunks}
    return counts
