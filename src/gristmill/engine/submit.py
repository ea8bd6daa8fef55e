"""Submitting a batch: streamed in slices, sealed at its end, and safe to repeat after an interruption."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from gristmill.domain.batch import Batch
from gristmill.domain.record import Item
from gristmill.ports.batches import Batches

SLICE_ITEMS = 1_000


@dataclass(frozen=True, slots=True)
class Submission:
    """``resumed``: the batch was there before, unsealed or not."""

    batch: Batch
    created: int
    existing: int

    @property
    def resumed(self) -> bool:
        return self.existing > 0


async def submit(
    batches: Batches, batch_id: UUID, items: Iterable[Item], *, on_slice: Callable[[], None] | None = None
) -> Submission:
    """Record every item, then seal the batch, which ``create_batch`` has made. The items are drawn in a thread, slice by slice.

    The same id again: an unsealed batch goes on where it stopped; for a sealed one, BatchConflictError if an
    item is not among its records. ``on_slice`` is called after each slice is stored.
    """
    created = existing = 0
    remaining = iter(items)
    while slice_ := await asyncio.to_thread(lambda: list(islice(remaining, SLICE_ITEMS))):
        counted = await batches.create_processing_records(batch_id, slice_)
        created += counted.created
        existing += counted.existing
        if on_slice is not None:
            on_slice()
    batch = await batches.seal_batch(batch_id)
    if on_slice is not None:
        on_slice()
    return Submission(await batches.get_batch(batch_id) or batch, created, existing)
