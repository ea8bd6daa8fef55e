"""All rows of a memory database, and the marks of those that it owes to another one."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast
from uuid import UUID, uuid4

from gristmill.domain.conflicts import Conflict
from gristmill.domain.document import Collection
from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.domain.record import Record
from gristmill.ports.clock import Clock
from gristmill.ports.replication import Acting, Identity, SetAside
from gristmill.ports.rows import Body, ChunksRow, Kind, Row, VectorRow, WorkerRow, row_of


@dataclass(frozen=True, slots=True)
class Mark:
    """``row`` is the row as it is now; ``sequence`` numbers the write that set the mark."""

    row: Row
    sequence: int
    at: datetime
    set_aside: SetAside | None = None


@dataclass
class Tables:
    """``keep`` writes a row and marks it as owed; ``put`` writes it as a merge does, and leaves its mark as it is."""

    clock: Clock
    incarnation: UUID = field(default_factory=uuid4)
    sequence: int = 0
    acting: Acting = Acting()
    peer: Identity | None = None
    marks: dict[tuple[Kind, str], Mark] = field(default_factory=dict)
    workers: dict[str, WorkerRow] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)
    vectors: dict[UUID, VectorRow] = field(default_factory=dict)
    chunks: dict[UUID, dict[str, ChunksRow]] = field(default_factory=dict)
    documents: dict[UUID, DocumentFacts] = field(default_factory=dict)
    batches: dict[UUID, BatchFacts] = field(default_factory=dict)
    records: dict[UUID, dict[str, Record]] = field(default_factory=dict)
    ends: dict[UUID, EndFact] = field(default_factory=dict)
    # Local: by their keys, the oldest first.
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    # Local: ends of rounds that go on here, since merges brought open records or not yet all of them.
    unconfirmed: set[UUID] = field(default_factory=set)
    # Local: workers forgotten here for which a merge brought a claim; somebody has to end it.
    returned: set[str] = field(default_factory=set)

    @property
    def identity(self) -> Identity:
        return Identity(self.incarnation, self.sequence)

    def keep(self, body: Body) -> None:
        self.mark(self.put(body))

    def mark(self, row: Row) -> None:
        self.marks[row.kind, row.key] = Mark(row, self.sequence, self.clock.now())

    def put(self, body: Body) -> Row:
        self.sequence += 1
        rows, key = self._place(body)
        rows[key] = body
        row = row_of(body)
        if (row.kind, row.key) in self.marks:
            self.marks[row.kind, row.key] = replace(self.marks[row.kind, row.key], row=row)
        return row

    def drop(self, body: Body) -> None:
        self.sequence += 1
        rows, key = self._place(body)
        rows.pop(key, None)
        row = row_of(body)
        self.marks.pop((row.kind, row.key), None)

    def stored(self, body: Body) -> Body | None:
        """The row of the same key that is here."""
        rows, key = self._place(body)
        return rows.get(key)

    def is_owed(self, body: Body) -> bool:
        row = row_of(body)
        return (row.kind, row.key) in self.marks

    def all_rows(self) -> Iterator[Body]:
        for table in (self.workers, self.collections, self.vectors, self.documents, self.batches, self.ends):
            yield from cast("dict[object, Body]", table).values()
        for tables in (self.chunks, self.records):
            for inner in cast("dict[UUID, dict[str, Body]]", tables).values():
                yield from inner.values()

    def _place(self, body: Body) -> tuple[dict[object, Body], object]:
        rows: object
        key: object
        match body:
            case WorkerRow():
                rows, key = self.workers, body.worker.worker_id
            case Collection():
                rows, key = self.collections, body.name
            case VectorRow():
                rows, key = self.vectors, body.vector_id
            case ChunksRow():
                rows, key = self.chunks.setdefault(body.content.document_id, {}), body.content.version
            case DocumentFacts():
                rows, key = self.documents, body.document_id
            case BatchFacts():
                rows, key = self.batches, body.batch_id
            case Record():
                rows, key = self.records.setdefault(body.batch_id, {}), body.item_id
            case EndFact():
                rows, key = self.ends, body.event.event_id
        return cast("dict[object, Body]", rows), key
