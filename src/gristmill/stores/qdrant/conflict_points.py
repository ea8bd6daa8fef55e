"""Writes to documents that merges found lost, as points of the collection ``state``: the same loss is the same point."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID, uuid5

from qdrant_client import models

from gristmill.domain.conflicts import KEPT, Conflict, Deed
from gristmill.domain.identity import NAMESPACE
from gristmill.ports.replication import Conflicts
from gristmill.stores.qdrant.points import TOKEN, Points, equals, point, where, within
from gristmill.stores.qdrant.values import instant, json_text, json_value, moment

_IS_CONFLICT = where(equals("type", "conflict"))
_MOMENTS = ("found_at", "lost_at", "won_at")


async def log(state: Points, found: Iterable[Conflict]) -> None:
    """One that was found before stays as it was."""
    points = {each.key: _point(each) for each in found}
    if points:
        await state.insert(list(points.values()))


async def newest(state: Points, *, limit: int) -> Conflicts:
    payloads = await state.first(_IS_CONFLICT, order="created_at", limit=limit, descending=True)
    return Conflicts(await state.count(_IS_CONFLICT), [_conflict(each["body"]) for each in payloads])


async def forget_old(state: Points) -> None:
    """Those that are older than the newest ones that are kept."""
    if await state.count(_IS_CONFLICT) > KEPT:
        kept = await state.first(
            _IS_CONFLICT, order="created_at", limit=KEPT, descending=True, fields=["created_at"]
        )
        before = kept[-1]["created_at"]
        await state.delete(where(equals("type", "conflict"), within("created_at", lt=before)))


def _point(conflict: Conflict) -> models.PointStruct:
    body: dict[str, Any] = asdict(conflict)
    body |= {name: instant(body[name]) for name in _MOMENTS} | {"document_id": str(conflict.document_id)}
    payload = {
        "type": "conflict",
        "created_at": instant(conflict.found_at),
        "body": json_text(body),
        TOKEN: conflict.key,
    }
    return point(uuid5(NAMESPACE, f"conflict\x1f{conflict.key}"), payload)


def _conflict(text: str) -> Conflict:
    body = json_value(text)
    body |= {name: moment(body[name]) for name in _MOMENTS} | {"document_id": UUID(body["document_id"])}
    return replace(Conflict(**body), lost=Deed(body["lost"]), won=Deed(body["won"]))
