"""Writes to documents that merges found lost, kept beside the facts under a kind that no row has."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, select

from gristmill.domain.conflicts import KEPT, Conflict
from gristmill.ports.replication import Conflicts
from gristmill.stores.sql.fact_rows import text_of, value_of
from gristmill.stores.sql.tables_replication import CONFLICT, facts
from gristmill.stores.sql.upserts import insert

_IS_OURS = facts.c.kind == CONFLICT


def log(connection: Connection, found: Iterable[Conflict]) -> None:
    """One that was found before stays as it was."""
    for each in found:
        known = connection.scalar(select(facts.c.place).where(_IS_OURS, facts.c.token == each.key).limit(1))
        if known is None:
            number = int(connection.scalar(select(func.max(facts.c.place)).where(_IS_OURS)) or 0) + 1
            row = {"kind": CONFLICT, "place": _place(number), "token": each.key, "body": text_of(each)}
            connection.execute(insert(facts).values(row))


def newest(connection: Connection, *, limit: int) -> Conflicts:
    count = connection.scalar(select(func.count()).select_from(facts).where(_IS_OURS)) or 0
    bodies = connection.scalars(
        select(facts.c.body).where(_IS_OURS).order_by(facts.c.place.desc()).limit(limit)
    )
    return Conflicts(count, [value_of(body, Conflict) for body in bodies])


def forget_old(connection: Connection) -> None:
    last = connection.scalar(select(func.max(facts.c.place)).where(_IS_OURS))
    if last is not None:
        connection.execute(delete(facts).where(_IS_OURS, facts.c.place <= _place(max(0, int(last) - KEPT))))


def _place(number: int) -> str:
    return f"{number:012d}"
