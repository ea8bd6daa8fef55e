"""Looking at batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from gristmill.domain.batch import Batch, BatchStatusView
from gristmill.domain.failures import FailureCategory
from gristmill.domain.record import RecordStatus
from gristmill.engine.core import Core
from gristmill.ports.batches import BatchPage, ErrorGroup, Progress, RecordPage, Statistics
from gristmill.ports.errors import BatchNotFoundError


@dataclass(frozen=True, slots=True)
class BatchReport:
    batch: Batch
    view: BatchStatusView
    errors: Sequence[ErrorGroup]


async def report(core: Core, batch_id: UUID) -> BatchReport:
    """Raises BatchNotFoundError."""
    batch = await core.database.batches.get_batch(batch_id)
    if batch is None:
        raise BatchNotFoundError(batch_id)
    view = await core.database.batches.batch_status_view(batch_id)
    errors = await core.database.batches.get_error_groups(batch_id)
    return BatchReport(batch, view, errors)


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


def retry_command(batch_id: UUID, group: ErrorGroup) -> str:
    """The exact command that retries this group."""
    permanent = " --include-permanent" if group.permanent else ""
    return f"gristmill batches retry {batch_id} --category {group.category}{permanent}"
