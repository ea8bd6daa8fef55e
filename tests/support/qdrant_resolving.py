"""Which points an update means: found before the engine writes it to its log, as servers from 1.19 on do.

The engine logs an update as it is given. After a crash it would run those with a condition anew, on whatever was
flushed by then, and may choose other points: acknowledged updates would be lost (Qdrant's pull request 9678).
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import qdrant_edge as edge

from tests.support import qdrant_conditions as given

Json = Mapping[str, Any]
Id = int | UUID

_AT_ONCE = 10_000


def chosen(shard: edge.EdgeShard, body: Json) -> list[Id]:
    """The ids of ``points``, else of what fulfils ``filter``."""
    if (ids := body.get("points")) is not None:
        return [given.point_id(each) for each in ids]
    if (condition := body.get("filter")) is not None:
        return _fulfilling(shard, given.filter_of(condition))
    raise ValueError("either points or filter must be given")


def upserted(shard: edge.EdgeShard, body: Json) -> list[edge.Point]:
    """Those of the points that an upsert with ``update_mode`` and ``update_filter`` writes."""
    points, mode, condition = given.points_of(body), body.get("update_mode"), body.get("update_filter")
    if mode is None and condition is None:
        return points
    there = {
        each.id
        for each in shard.retrieve([each.id for each in points], with_payload=False, with_vector=False)
    }
    wanted = there if condition is None else fulfilling_of(shard, there, condition)
    insert, update = mode in {None, "upsert", "insert_only"}, mode in {None, "upsert", "update_only"}
    return [each for each in points if (update and each.id in wanted if each.id in there else insert)]


def fulfilling_of(shard: edge.EdgeShard, ids: set[Id], condition: Json | None) -> set[Id]:
    """Those of the ids that are there and fulfil the condition."""
    if not ids:
        return set()
    among = edge.HasIdCondition(ids)
    rest = given.filter_of(condition)
    return set(_fulfilling(shard, edge.Filter(must=[among] if rest is None else [among, rest])))


def _fulfilling(shard: edge.EdgeShard, condition: edge.Filter | None) -> list[Id]:
    found: Sequence[edge.Record]
    ids: list[Id] = []
    following: Id | None = None
    while True:
        request = edge.ScrollRequest(
            offset=following, limit=_AT_ONCE, filter=condition, with_payload=False, with_vector=False
        )
        found, following = shard.scroll(request)
        ids += [each.id for each in found]
        if following is None:
            return ids
