"""Forgetting tombstones of batches and documents, and workers that are gone."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from gristmill.stores.qdrant import batch_points, end_points
from gristmill.stores.qdrant.marks import ASIDE, OWED
from gristmill.stores.qdrant.points import (
    TOKEN,
    Condition,
    Payload,
    Points,
    any_of,
    equals,
    has_id,
    where,
    within,
)
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.worker_points import GONE, WORKER, worker_point_id

IS_OWED: list[Condition] = [within(OWED, gte=0), within(ASIDE, gte=0)]


async def purge(state: Points, documents: Points, before: datetime, *, owed_too: bool = False) -> int:
    """Forget what died before this moment and, unless ``owed_too``, is not owed. Returns how many."""
    owed = [] if owed_too else IS_OWED
    died = instant(before)
    batches = [equals("type", batch_points.BATCH), within("deleted_at", lt=died)]
    workers = [equals("type", WORKER), GONE, within("renewed_at", lt=died)]
    dead = [within("dead_at", lt=died)]
    gone = 0
    async for page in state.pages(where(*batches, without=owed)):
        await _keep_ends(state, page)
        gone += await _forget(state, {UUID(each["batch_id"]): each for each in page}, owed)
    async for page in state.pages(where(*workers, without=owed)):
        gone += await _forget(state, {worker_point_id(each["worker_id"]): each for each in page}, owed)
    async for page in documents.pages(where(*dead, without=owed)):
        gone += await _forget(documents, {UUID(each["document_id"]): each for each in page}, owed)
    return gone


async def _keep_ends(state: Points, tombstones: Sequence[Payload]) -> None:
    """Ends that nobody was told of, or that are owed, outlive the tombstone of their batch."""
    ends = [end for each in tombstones for end in end_points.ends_of(each)]
    lone = [end_points.lone_point(end) for end in ends if end.is_owed or not end.fact.delivered]
    if lone:
        await state.insert(lone)


async def _forget(points: Points, rows: dict[UUID, Payload], owed: list[Condition]) -> int:
    """Delete those that are still as they were read."""
    if not rows:
        return 0
    tokens = any_of(TOKEN, [each[TOKEN] for each in rows.values()])
    await points.delete(where(has_id(rows), tokens, without=owed))
    return len(rows.keys() - (await points.get(rows, fields=[TOKEN])).keys())
