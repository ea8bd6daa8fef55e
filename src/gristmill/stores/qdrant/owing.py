"""The journal of what is owed: pages of owed rows, and the marks that say so.

A mark is cleared only on the point that bears the token and the number that were read before it was asked whether the
other database is trusted. So a distrust that begins meanwhile, and marks everything anew, loses nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qdrant_client import models

from gristmill.ports.replication import Owed, SetAside
from gristmill.ports.rows import Kind, Row, row_of
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.qdrant.documents_forget import DocumentsForget
from gristmill.stores.qdrant.end_points import ENDS_ASIDE, ENDS_OWED, StoredEnd, ends_of
from gristmill.stores.qdrant.marks import ASIDE, OWED, OWED_AT, REASON, Marks
from gristmill.stores.qdrant.points import (
    POINTS_A_WRITE,
    TOKEN,
    Payload,
    Points,
    any_of,
    clear_by,
    equals,
    groups,
    has_id,
    set_by,
    where,
    within,
)
from gristmill.stores.qdrant.row_points import (
    Change,
    RowKey,
    RowPoints,
    Source,
    body_of,
    by_kind,
    key_of_point,
    point_id,
    token_of,
)
from gristmill.stores.qdrant.values import moment
from gristmill.stores.qdrant.version_points import StoredVersion, chunk_of, version_of

_OWED_ROWS, _ALL_ROWS = "owed rows", "rows"
_CHUNKS_A_PAGE = 2_000
_CHUNK = ["chunk_id", "staging", "index", "text", "start", "end", "heading", "page", "vector_id", "tokens"]
_OWED, _ASIDE = within(OWED, gte=0), within(ASIDE, gte=0)
_NO_ENDS = models.IsEmptyCondition(is_empty=models.PayloadField(key="end_ids"))


@dataclass(slots=True)
class Marked:
    """Marks as they were read: of points by their own token, of ends by their keys."""

    points: list[tuple[Points, Payload]] = field(default_factory=list)
    ends: dict[str, StoredEnd] = field(default_factory=dict)


class Owing(DocumentsForget):
    rows: RowPoints

    # -- pages ---------------------------------------------------------------------------------------

    async def page(self, *, limit: int, since: int, after: str | None) -> tuple[list[Row], str | None]:
        """Owed rows whose mark is above ``since``."""
        return await self._page(_OWED_ROWS, limit, since, after)

    async def page_of_all(self, *, limit: int, after: str | None) -> tuple[list[Row], str | None]:
        return await self._page(_ALL_ROWS, limit, None, after)

    async def _page(
        self, listing: str, limit: int, since: int | None, after: str | None
    ) -> tuple[list[Row], str | None]:
        sources = await self.rows.sources()
        at, start = _beginning(listing, sources, after)
        found: list[Row] = []
        while at < len(sources):
            some, start = await self._rows(sources[at], limit - len(found), since, start)
            found += some
            heavy = sources[at].kind is Kind.CHUNKS and start is not None
            at += start is None
            if (heavy or len(found) >= limit) and at < len(sources):
                return found, cursor(listing, sources[at].name, start or "")
        return found, None

    async def _rows(
        self, source: Source, limit: int, since: int | None, start: str | None
    ) -> tuple[list[Row], str | None]:
        """Rows of one kind from a point on, and the first point behind them."""
        records, following = await source.points.page(
            _chosen(source, since), limit=limit, start=start, vectors=source.kind is Kind.VECTOR
        )
        if source.kind is Kind.CHUNKS:
            versions, following = _fitting(records, following)
            whole = await self._whole_rows(versions)
            if since is not None and len(whole) < len(versions):
                # Left by a crash, or dropped since: of a document that needs it no more.
                await self._forget_versions(
                    (await self._stored({each.content.document_id for each in versions})).values()
                )
            return whole, following
        if source.kind is Kind.END:
            ends = [end for record in records for end in ends_of(record.payload or {})]
            return [
                row_of(end.fact) for end in ends if since is None or end.marks.get(OWED, 0) > since
            ], following
        return [row_of(body_of(source.kind, record)) for record in records], following

    async def _whole_rows(self, versions: Sequence[StoredVersion]) -> list[Row]:
        """The rows of those versions whose chunks are all there."""
        chunks = await self._chunks_of(versions)
        return [
            row_of(each.row(map(chunk_of, chunks[each.staging])))
            for each in versions
            if len(chunks[each.staging]) == each.chunks
        ]

    async def find(self, rows: Sequence[Row]) -> list[Row | None]:
        """For each row the one of its kind and key that is here."""
        found: dict[RowKey, Row] = {}
        for kind, keys in by_kind([(row.kind, row.key) for row in rows]).items():
            if kind is Kind.END:
                ends = await self.rows.ends(keys)
                found |= {(kind, key): row_of(end.fact) for key, end in ends.items()}
                continue
            ids = list({point_id(kind, key) for key in keys})
            for points in await self.rows.places(kind):
                for some in groups(ids, POINTS_A_WRITE):
                    records = await points.records(some, vectors=kind is Kind.VECTOR)
                    if kind is Kind.CHUNKS:
                        here = await self._whole_rows([version_of(each.payload or {}) for each in records])
                    else:
                        here = [row_of(body_of(kind, each)) for each in records]
                    found |= {(row.kind, row.key): row for row in here}
        return [found.get((row.kind, row.key)) for row in rows]

    async def _chunks_of(self, versions: Sequence[StoredVersion]) -> dict[str, list[Payload]]:
        found: dict[str, list[Payload]] = {each.staging: [] for each in versions}
        collections = await self._collections(each.content.collection for each in versions)
        for name, collection in collections.items():
            stagings = [each.staging for each in versions if each.content.collection == name]
            points = await self._chunks(collection)
            for chunk in await points.by_id(where(any_of("staging", stagings)), fields=_CHUNK):
                found[chunk["staging"]].append(chunk)
        return found

    # -- marks ---------------------------------------------------------------------------------------

    async def marked(self, tokens: Mapping[RowKey, str]) -> Marked:
        """The marks of those of these rows that still bear these tokens."""
        found = Marked()
        for kind, keys in by_kind(list(tokens)).items():
            if kind is Kind.END:
                ends = await self.rows.ends(keys)
                found.ends = {
                    key: end
                    for key, end in ends.items()
                    if end.is_owed and end.fact.token == tokens[kind, key]
                }
                continue
            for points, rows in await self.rows.find(kind, keys):
                found.points += [
                    (points, row)
                    for key, row in rows.items()
                    if (OWED in row or ASIDE in row) and token_of(kind, key, row) == tokens[kind, key]
                ]
        return found

    async def clear(self, marked: Marked) -> int:
        by_place: dict[tuple[str, str], list[Payload]] = {}
        places = {points.name: points for points, _ in marked.points}
        for points, row in marked.points:
            by_place.setdefault((points.name, OWED if OWED in row else ASIDE), []).append(row)
        for (name, mark), rows in by_place.items():
            for some in groups(rows, POINTS_A_WRITE):
                as_read = (
                    any_of(TOKEN, [each[TOKEN] for each in some]),
                    any_of(mark, {each[mark] for each in some}),
                )
                await places[name].clear([OWED, OWED_AT, ASIDE, REASON], where(*as_read))

        def settled(end: StoredEnd) -> StoredEnd:
            return end.marked({}) if end == marked.ends.get(str(end.event.event_id)) else end

        await self._change_ends(marked.ends, settled)
        return len(marked.points) + len(marked.ends)

    async def _change_ends(self, keys: Iterable[str], change: Change) -> int:
        wanted = list(keys)
        return await self.rows.change_ends(where(any_of("end_ids", wanted)), change) if wanted else 0

    async def set_aside(self, refused: Sequence[SetAside]) -> int:
        """One by one, for each has a reason of its own and there are few."""
        return sum([await self._set_aside(each) for each in refused])

    async def _set_aside(self, refused: SetAside) -> int:
        marked = await self.marked({(refused.kind, refused.key): refused.token})
        for points, row in marked.points:
            if OWED in row:
                as_read = where(equals(TOKEN, row[TOKEN]), any_of(OWED, [row[OWED]]))
                await points.set_payload({ASIDE: row[OWED], REASON: refused.reason}, as_read)
                await points.clear([OWED, OWED_AT], where(equals(TOKEN, row[TOKEN]), _ASIDE))

        def aside(end: StoredEnd) -> StoredEnd:
            if end != marked.ends.get(str(end.event.event_id)) or OWED not in end.marks:
                return end
            return end.marked({ASIDE: end.marks[OWED], REASON: refused.reason})

        await self._change_ends(marked.ends, aside)
        return len(marked.points) + len(marked.ends)

    async def list_set_aside(self, limit: int) -> list[SetAside]:
        found: list[SetAside] = []
        for source in await self.rows.sources():
            mark = ENDS_ASIDE if source.kind is Kind.END else ASIDE
            records, _ = await source.points.page(where(*source.conditions, within(mark, gte=0)), limit=limit)
            for record in records:
                found += _set_aside_in(source.kind, record)
        return found[:limit]

    # -- counting ------------------------------------------------------------------------------------

    async def count(self) -> Owed:
        sources = [each for each in await self.rows.sources() if each.kind is not Kind.END]
        places = {source.points.name: source.points for source in sources}
        counts = await asyncio.gather(
            *(_count(points) for points in places.values()), self._count_ends(self._state)
        )
        oldest = [at for _, _, at in counts if at is not None]
        return Owed(
            rows=sum(rows for rows, _, _ in counts),
            set_aside=sum(aside for _, aside, _ in counts),
            oldest=moment(min(oldest)) if oldest else None,
        )

    async def _count_ends(self, state: Points) -> tuple[int, int, int | None]:
        owed, aside = await asyncio.gather(
            state.facet("ends_owed_count", where(within(ENDS_OWED, gte=0))),
            state.facet(ENDS_ASIDE, where(within(ENDS_ASIDE, gte=0))),
        )
        at = await state.first(where(within(ENDS_OWED, gte=0)), order="ends_owed_at", limit=1) if owed else []
        return _sum(owed), _sum(aside), at[0]["ends_owed_at"] if at else None

    # -- distrust ------------------------------------------------------------------------------------

    async def mark_all(self, marks: Marks) -> None:
        """Mark every row as owed, those that were set aside too."""
        for source in await self.rows.sources():
            if source.kind is not Kind.END:
                every, aside = where(*source.conditions), where(*source.conditions, _ASIDE)
                await source.points.update([set_by(marks, every), clear_by([ASIDE, REASON], aside)])
        await self.rows.change_ends(models.Filter(must_not=[_NO_ENDS]), lambda end: end.marked(marks))

    async def mark(self, rows: Iterable[Row], marks: Marks) -> None:
        """Mark these as owed, whatever they bear now."""
        found = by_kind([(row.kind, row.key) for row in rows])
        ends = set(found.pop(Kind.END, []))

        def marked(end: StoredEnd) -> StoredEnd:
            return end.marked(marks) if str(end.event.event_id) in ends else end

        await self._change_ends(ends, marked)
        for kind, keys in found.items():
            ids = [point_id(kind, key) for key in keys]
            for points in await self.rows.places(kind):
                await points.set_payload(marks, where(has_id(ids)))


async def _count(points: Points) -> tuple[int, int, int | None]:
    rows, aside = await asyncio.gather(
        points.count(where(_OWED, without=[_ASIDE])), points.count(where(_ASIDE))
    )
    oldest = (
        await points.first(where(_OWED, without=[_ASIDE]), order=OWED_AT, limit=1, fields=[OWED_AT])
        if rows
        else []
    )
    return rows, aside, oldest[0][OWED_AT] if oldest else None


def _sum(counts: Mapping[int, int]) -> int:
    return sum(value * points for value, points in counts.items())


def _set_aside_in(kind: Kind, record: models.Record) -> list[SetAside]:
    payload = record.payload or {}
    if kind is Kind.END:
        return [
            SetAside(kind, str(end.event.event_id), end.fact.token, end.marks[REASON])
            for end in ends_of(payload)
            if ASIDE in end.marks
        ]
    key = key_of_point(kind, record)
    return [SetAside(kind, key, token_of(kind, key, payload), payload[REASON])]


def _chosen(source: Source, since: int | None) -> models.Filter:
    """The points of rows owed since then, or of all rows."""
    if since is None:
        return where(*source.conditions, without=[_NO_ENDS] if source.kind is Kind.END else [])
    # A row is set aside by two writes; its end is set aside by one, whatever its batch is.
    without = [] if source.kind is Kind.END else [_ASIDE]
    return where(*source.conditions, within(source.mark, gt=since), without=without)


def _fitting(
    records: Sequence[models.Record], following: str | None
) -> tuple[list[StoredVersion], str | None]:
    """The first versions that have no more chunks than a page holds, and the first point behind them."""
    versions: list[StoredVersion] = []
    chunks = 0
    for record in records:
        version = version_of(record.payload or {})
        chunks += version.chunks
        if versions and chunks > _CHUNKS_A_PAGE:
            return versions, str(record.id)
        versions.append(version)
    return versions, following


def _beginning(listing: str, sources: Sequence[Source], after: str | None) -> tuple[int, str | None]:
    """Where a page begins. Raises ValueError for a cursor that is not ours."""
    if after is None:
        return 0, None
    name, start = key_of(listing, after, str, str)
    names = [source.name for source in sources]
    if name not in names:
        raise ValueError(
            f"{after!r} is a cursor of another database. Take it from the page before, or leave it out."
        )
    return names.index(name), start or None
