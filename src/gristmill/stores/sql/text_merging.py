"""Keeping the inverted index small: neighbouring segments are merged, and postings of removed versions dropped.

The segments form a log-structured merge tree: sixteen of one level become one of the next. A merge moves term
after term, in transactions short enough for other writers; each leaves every posting in exactly one segment,
so searching, and taking up a merge that a crash interrupted, need nothing special.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, insert, select, update

from gristmill.stores.sql import locks
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_documents import hidden_versions, postings, segments
from gristmill.stores.sql.text_index import INSERT_POSTINGS, POSTING, inside

FAN_OUT = 16
# A segment is also rewritten when so many of its chunks were removed.
_REMOVED_SHARE = 0.25
_REMOVED_AT_LEAST = 1024

# What one transaction moves from the largest of its segments; from all of them it is up to 16 times as much.
_TERMS_MOVED = 1000
_BYTES_MOVED = 400_000

_of_source = postings.c.segment_no == bindparam("source")
_moved = and_(_of_source, postings.c.term <= bindparam("last_term"))
_READ = RawStatement(select(postings.c.term, postings.c.data).where(_moved))
_DELETE = RawStatement(delete(postings).where(_moved))
_SIZES = RawStatement(
    select(postings.c.term, func.length(postings.c.data))
    .where(_of_source)
    .order_by(postings.c.term)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments, in the order of their chunks, that are moved together into a new one of ``level``."""

    collection_no: int
    segments: tuple[int, ...]
    level: int


@dataclass(frozen=True, slots=True)
class Target:
    """The segment that others are being moved into."""

    no: int
    collection_no: int
    first_chunk_no: int
    last_chunk_no: int

    @property
    def purged(self) -> ColumnElement[bool]:
        """The hidden versions whose postings it leaves out."""
        return and_(
            hidden_versions.c.collection_no == self.collection_no,
            hidden_versions.c.first_chunk_no.between(self.first_chunk_no, self.last_chunk_no),
            hidden_versions.c.merging_into == self.no,
        )


def is_due(connection: Connection) -> bool:
    """Whether ``merge_some`` would find anything to do."""
    return _unfinished(connection) is not None or _next_merge(connection) is not None


def merge_some(connection: Connection) -> bool:
    """Do the next small step, in a transaction of its own; whether there may be more to do."""
    if not locks.is_alone(connection, "merging"):
        return False
    target = _unfinished(connection)
    if target is None:
        merge = _next_merge(connection)
        if merge is None:
            return False
        target = _begin(connection, merge)
    if not _move_some(connection, target):
        _finish(connection, target)
    return True


def _unfinished(connection: Connection) -> Target | None:
    columns = (segments.c.no, segments.c.collection_no, segments.c.first_chunk_no, segments.c.last_chunk_no)
    merging = select(segments.c.merging_into).where(segments.c.merging_into.is_not(None))
    found = connection.execute(select(*columns).where(segments.c.no.in_(merging)).limit(1)).one_or_none()
    return None if found is None else Target(*found)


def _next_merge(connection: Connection) -> Merge | None:
    return _full_level(connection) or _segment_with_removed(connection)


def _full_level(connection: Connection) -> Merge | None:
    key = (segments.c.collection_no, segments.c.level)
    full = select(*key).group_by(*key).having(func.count() >= FAN_OUT).order_by(segments.c.level).limit(1)
    found = connection.execute(full).one_or_none()
    if found is None:
        return None
    # The oldest, so that the chunk numbers of older segments stay below those of newer ones.
    oldest = (
        select(segments.c.no)
        .where(segments.c.collection_no == found.collection_no, segments.c.level == found.level)
        .order_by(segments.c.first_chunk_no)
        .limit(FAN_OUT)
    )
    return Merge(found.collection_no, tuple(connection.execute(oldest).scalars()), found.level + 1)


def _segment_with_removed(connection: Connection) -> Merge | None:
    removed = func.sum(hidden_versions.c.chunks)
    within = and_(
        hidden_versions.c.collection_no == segments.c.collection_no,
        hidden_versions.c.first_chunk_no.between(segments.c.first_chunk_no, segments.c.last_chunk_no),
        hidden_versions.c.removed,
    )
    share = _REMOVED_SHARE * segments.c.chunks
    enough = case((share < _REMOVED_AT_LEAST, _REMOVED_AT_LEAST), else_=share)
    worst = (
        select(segments.c.no, segments.c.collection_no, segments.c.level)
        .join(hidden_versions, within)
        .group_by(segments.c.no)
        .having(removed >= enough)
        .order_by(removed.desc())
        .limit(1)
    )
    found = connection.execute(worst).one_or_none()
    return None if found is None else Merge(found.collection_no, (found.no,), found.level)


def _begin(connection: Connection, merge: Merge) -> Target:
    sources = segments.c.no.in_(merge.segments)
    first, last, chunks = connection.execute(
        select(
            func.min(segments.c.first_chunk_no),
            func.max(segments.c.last_chunk_no),
            func.sum(segments.c.chunks),
        ).where(sources)
    ).one()
    row = {
        "collection_no": merge.collection_no,
        "level": merge.level,
        "chunks": chunks,
        "first_chunk_no": first,
        "last_chunk_no": last,
    }
    number = connection.execute(insert(segments).returning(segments.c.no), row).scalar_one()
    connection.execute(update(segments).where(sources).values(merging_into=number))
    # What is removed from now on is left to a later merge.
    removed = and_(
        hidden_versions.c.collection_no == merge.collection_no,
        hidden_versions.c.first_chunk_no.between(first, last),
        hidden_versions.c.removed,
    )
    connection.execute(update(hidden_versions).where(removed).values(merging_into=number))
    return Target(number, merge.collection_no, first, last)


def _move_some(connection: Connection, target: Target) -> bool:
    """Move a range of terms; False if none is left."""
    in_order = (
        select(segments.c.no).where(segments.c.merging_into == target.no).order_by(segments.c.first_chunk_no)
    )
    sources = connection.execute(in_order).scalars().all()
    last = _last_term_to_move(connection, sources)
    if last is None:
        return False
    lists: defaultdict[str, list[bytes]] = defaultdict(list)
    for source in sources:
        parameters = {"source": source, "last_term": last}
        for term, data in _READ.execute(connection, parameters).all():
            lists[term].append(data)
        _DELETE.execute(connection, parameters)
    purged = _purged_by(connection, target)
    merged = ((term, _without(b"".join(lists[term]), purged)) for term in sorted(lists))
    rows = [(target.no, term, data) for term, data in merged if data]
    INSERT_POSTINGS.execute(connection, rows)
    return True


def _last_term_to_move(connection: Connection, sources: Sequence[int]) -> str | None:
    """The end of a range of terms that is small enough in every source, None if all are empty."""
    ends = [end for source in sources if (end := _range_end(connection, source)) is not None]
    return min(ends, default=None)


def _range_end(connection: Connection, source: int) -> str | None:
    found = _SIZES.execute(connection, {"source": source, "most": _TERMS_MOVED}).all()
    if not found:
        return None
    full = np.searchsorted(np.cumsum([length for _, length in found]), _BYTES_MOVED)
    end: str = found[min(int(full), len(found) - 1)][0]
    return end


def _purged_by(connection: Connection, target: Target) -> NDArray[np.int64]:
    purged = (
        select(hidden_versions.c.first_chunk_no, hidden_versions.c.chunks)
        .where(target.purged)
        .order_by(hidden_versions.c.first_chunk_no)
    )
    return np.array(connection.execute(purged).all(), np.int64).reshape(-1, 2)


def _without(data: bytes, purged: NDArray[np.int64]) -> bytes:
    if not len(purged):
        return data
    found = np.frombuffer(data, POSTING)
    return found[~inside(found["chunk"].astype(np.int64), purged)].tobytes()


def _finish(connection: Connection, target: Target) -> None:
    purged = select(func.coalesce(func.sum(hidden_versions.c.chunks), 0)).where(target.purged)
    merged = segments.c.no == target.no
    left = segments.c.chunks - purged.scalar_subquery()
    connection.execute(update(segments).where(merged).values(chunks=left))
    connection.execute(delete(hidden_versions).where(target.purged))
    connection.execute(delete(segments).where(segments.c.merging_into == target.no))
    connection.execute(delete(segments).where(merged, segments.c.chunks <= 0))
