"""Changing batches: retry, cancel, seal, clean up."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from gristmill.domain.batch import Batch
from gristmill.domain.failures import FailureCategory
from gristmill.engine.core import Core
from gristmill.ports.batches import Cleanup


async def retry_failed(
    core: Core,
    batch_id: UUID,
    *,
    categories: Collection[FailureCategory] | None = None,
    permanent: bool = False,
) -> int:
    """Open a new round for failed records; returns how many. Raises BatchNotFoundError."""
    return await core.database.batches.retry_failed(batch_id, categories=categories, permanent=permanent)


async def cancel(core: Core, batch_id: UUID) -> int:
    """Cancel what has not ended; returns how many records. Raises BatchNotFoundError."""
    cancelled = await core.database.batches.cancel_batch(batch_id)
    await core.end_batches(batch_id)
    return cancelled


async def seal(core: Core, batch_id: UUID) -> Batch:
    """Declare that a batch is complete with what it has. Raises BatchNotFoundError.

    For a submission that was interrupted, or after records were lost with a database.
    """
    sealed = await core.database.batches.seal_batch(batch_id, anew=True)
    await core.end_batches(batch_id)
    return await core.database.batches.get_batch(batch_id) or sealed


async def cleanup(core: Core, older_than: timedelta, *, apply: bool) -> Cleanup:
    """Delete batches that ended longer ago, never documents; ``apply=False`` only counts."""
    return await core.database.batches.cleanup_old_records(older_than, apply=apply)
