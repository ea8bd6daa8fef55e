"""Whether two databases hold the same, row by row, and what may be in one of them alone."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np

from gristmill.domain.document import Chunk, DocumentVersion
from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import EndFact
from gristmill.domain.record import Record
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.rows import Body, ChunksRow, Kind, Row, is_tombstone

PAGE_ROWS = 500
# Who wrote a row and when, and not what it says.
_OF_THE_WRITE = frozenset({"write_id", "stamp", "revision", "seen", "taken"})


@dataclass(frozen=True, slots=True)
class Difference:
    """``key`` is the row's among those of its kind, ``name`` what users know it by."""

    kind: Kind
    key: str
    name: str
    what: str


async def all_rows(database: ReplicatedDatabase) -> AsyncIterator[Sequence[Row]]:
    """Every row there is, page by page."""
    after = None
    while True:
        page = await database.replication.rows(limit=PAGE_ROWS, after=after)
        if page.rows:
            yield page.rows
        after = page.after
        if after is None:
            return


def differing(left: Row, right: Row) -> list[str]:
    """The names of what differs in two copies of a row, to the bit; empty if nothing does."""
    names = list(_differing(_contents(left.body, frozenset()), _contents(right.body, frozenset())))
    return names or ([] if left.token == right.token else ["token"])


def _differing(left: Mapping[str, Any], right: Mapping[str, Any], within: str = "") -> Iterator[str]:
    for name, one in left.items():
        two = right.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            yield from _differing(one, two, f"{within}{name}.")
        elif one != two:
            yield f"{within}{name}"


def same_content(left: Row, right: Row) -> bool:
    """Whether they say the same, to the bit, whoever wrote it."""
    return bool(_contents(left.body, _OF_THE_WRITE) == _contents(right.body, _OF_THE_WRITE))


def _contents(value: Any, without: frozenset[str]) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, Chunk):
        return replace(value, tokens=tuple(sorted(value.tokens)))  # They are counted, and bear no order.
    if isinstance(value, DocumentVersion):
        # What is shown as title and metadata is the document's row; chunks are numbered, however they lie.
        in_order = tuple(sorted(value.chunks, key=attrgetter("index")))
        value = replace(value, title=None, metadata={}, chunks=in_order)
    if is_dataclass(value):
        named = ((each.name, getattr(value, each.name)) for each in fields(value))
        return {name: _contents(each, without) for name, each in named if name not in without}
    if isinstance(value, Mapping):
        return {key: _contents(each, without) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_contents(each, without) for each in value]
    return value


def name_of(body: Body) -> str:
    match body:
        case Record():
            return f"item {body.item_id!r} of batch {body.batch_id}"
        case ChunksRow():
            return f"version {body.content.version} of {body.content.source}"
        case DocumentFacts():
            return body.source
        case EndFact():
            return f"end of round {body.event.round} of batch {body.event.batch_id}"
        case _:
            return ""


async def may_be_alone(row: Row, other: ReplicatedDatabase) -> bool:
    """Whether a row that is not owed may be in one database alone, and not in the ``other`` one.

    Tombstones are purged by each database for itself (B3); chunks go with the version that replaced theirs, and told
    ends with the batch.
    """
    match row.body:
        case ChunksRow(content=content):
            asked = DocumentFacts(content.document_id, content.collection, content.source)
            facts = await _held(other, Kind.DOCUMENT, str(content.document_id), asked)
            return isinstance(facts, DocumentFacts) and not facts.needs(content.version, row.body.ordinal)
        case EndFact(event=event, delivered=True):
            return await other.batches.get_batch(event.batch_id) is None
        case body:
            return is_tombstone(body)


async def _held(database: ReplicatedDatabase, kind: Kind, key: str, body: Body) -> Body | None:
    (row,) = await database.replication.find([Row(kind, key, "", body)])
    return None if row is None else row.body
