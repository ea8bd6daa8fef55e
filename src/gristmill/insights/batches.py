"""Looking at batches."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView, missing_records
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import Record, RecordStatus
from gristmill.engine.core import Core
from gristmill.engine.liveness import seems_gone, submitter_is_gone
from gristmill.pipeline.select import path_of
from gristmill.ports.batches import BatchPage, ErrorGroup, Progress, RecordPage, Statistics
from gristmill.ports.errors import BatchNotFoundError

RECORDS_SHOWN = 50
_RECORDS_READ = 10_000
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """``interrupted``: its submission is not complete and nobody goes on with it.

    ``missing``: how many declared records are not here (``domain.batch.missing_records``).
    """

    batch: Batch
    view: BatchStatusView
    errors: Sequence[ErrorGroup]
    interrupted: bool
    missing: int


@dataclass(slots=True)
class Findings:
    """What a user wants to know of single items: the first failed ones, and the first with warnings.

    ``unchanged`` counts items whose document was stored already; None when too many completed to look at all.
    """

    failed: Sequence[Record]
    with_warnings: list[Record] = field(default_factory=list)
    unchanged: int | None = 0


async def report(core: Core, batch_id: UUID) -> BatchReport:
    """Raises BatchNotFoundError."""
    batch = await core.database.batches.get_batch(batch_id)
    if batch is None:
        raise BatchNotFoundError(batch_id)
    view = await core.database.batches.batch_status_view(batch_id)
    errors = await core.database.batches.get_error_groups(batch_id)
    interrupted = is_interrupted(batch, now=core.clock.now())
    return BatchReport(batch, view, errors, interrupted, missing_records(batch, view.total_documents))


def is_interrupted(batch: Batch, *, now: datetime) -> bool:
    """Whether the batch is not sealed and its submitter is gone."""
    if batch.ended or batch.sealed_at is not None:
        return False
    return submitter_is_gone(batch.submitter, active_at=batch.updated_at, now=now)


async def findings(core: Core, batch_id: UUID) -> Findings:
    """Raises BatchNotFoundError."""
    failed = await results(core, batch_id, status=RecordStatus.FAILED, limit=RECORDS_SHOWN)
    found, after = Findings(failed.records), None
    for _ in range(_RECORDS_READ // _PAGE):
        page = await results(core, batch_id, status=RecordStatus.COMPLETED, limit=_PAGE, after=after)
        _note(found, page.records)
        after = page.after
        if after is None:
            return found
    found.unchanged = None
    return found


def _note(found: Findings, completed: Sequence[Record]) -> None:
    for record in completed:
        if record.result is None:
            continue
        if record.result.warnings and len(found.with_warnings) < RECORDS_SHOWN:
            found.with_warnings.append(record)
        if record.result.reused and found.unchanged is not None:
            found.unchanged += 1


async def open_batches(core: Core) -> list[Batch]:
    """Every batch that has not ended, newest first."""
    found: list[Batch] = []
    after = None
    while True:
        page = await list_batches(core, limit=_PAGE, after=after)
        found += [batch for batch in page.batches if not batch.ended]
        after = page.after
        if after is None:
            return found


async def has_worker(core: Core) -> bool:
    """Whether any worker is alive."""
    now = core.clock.now()
    return any(not seems_gone(worker, now=now) for worker in await core.database.batches.list_workers())


async def progress(core: Core, batch_id: UUID) -> Progress:
    return await core.database.batches.get_processing_progress(batch_id)


async def list_batches(core: Core, *, limit: int = 20, after: str | None = None) -> BatchPage:
    return await core.database.batches.list_batches(limit=limit, after=after)


async def results(
    core: Core,
    batch_id: UUID,
    *,
    status: RecordStatus | None = None,
    category: FailureCategory | None = None,
    limit: int = 100,
    after: str | None = None,
) -> RecordPage:
    return await core.database.batches.get_processing_results(
        batch_id, status=status, category=category, limit=limit, after=after
    )


async def statistics(core: Core, since: timedelta) -> Statistics:
    return await core.database.batches.get_processing_statistics(core.clock.now() - since)


def resume_arguments(batch: Batch) -> list[str] | None:
    """The arguments of `gristmill` that go on with an interrupted ingest; None when they are not known."""
    options = batch.options
    paths = _texts(options.get("paths"))
    if not paths:
        return None
    metadata = options.get("metadata")
    pairs = [f"{key}={value}" for key, value in metadata.items()] if isinstance(metadata, Mapping) else []
    collection = [] if batch.collection is None else [batch.collection]
    return [
        "ingest",
        "--batch-id",
        str(batch.batch_id),
        *_repeated("--collection", collection),
        *_repeated("--pattern", _texts(options.get("patterns"))),
        *_repeated("--exclude", _texts(options.get("excludes"))),
        *_repeated("--meta", pairs),
        *(["--refresh"] if options.get("refresh") else []),
        "--",
        *(os.fsdecode(path_of(path)) for path in paths),
    ]


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def retry_command(batch_id: UUID, group: ErrorGroup) -> str:
    """The exact command that retries this group."""
    permanent = " --include-permanent" if group.permanent else ""
    return f"gristmill batches retry {batch_id} --category {group.category}{permanent}"
