"""The replication port over dicts. No method awaits inside, so each is atomic on its event loop."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from gristmill.domain.conflicts import KEPT, conflicts
from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.domain.facts import BatchFacts, EndFact, confirms_end
from gristmill.domain.identity import end_event_id
from gristmill.domain.record import Record, moment
from gristmill.ports.errors import GristmillError
from gristmill.ports.replication import (
    Acting,
    Conflicts,
    Fate,
    Identity,
    Merge,
    Merged,
    Owed,
    OwedPage,
    RowPage,
    SetAside,
    Standing,
)
from gristmill.ports.rows import Body, ChunksRow, Row, WorkerRow, is_tombstone, merged, row_of
from gristmill.stores.memory.cursors import page
from gristmill.stores.memory.documents import is_complete
from gristmill.stores.memory.forgetting import forget_batch, forget_told_ends, forget_versions
from gristmill.stores.memory.summaries import counters
from gristmill.stores.memory.tables import Mark, Tables


class MemoryReplication:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # -- standing ------------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        return self._standing()

    def _standing(self) -> Standing:
        return Standing(self._tables.identity, self._tables.acting, self._tables.peer)

    async def touch(self) -> None:
        """Dicts take every write."""

    async def set_acting(self, acting: Acting) -> Acting:
        if acting.beats(self._tables.acting):
            self._tables.acting = acting
        return self._tables.acting

    def _hear_of(self, peer: Identity) -> bool:
        """Remember the other database as it is now, unless it is another one than before."""
        known = self._tables.peer
        if known is None or known.incarnation != peer.incarnation:
            return False
        if peer.sequence > known.sequence:
            self._tables.peer = peer
        return True

    # -- what is owed --------------------------------------------------------------------------------

    async def owed(self, *, limit: int, since: int = 0, after: str | None = None) -> OwedPage:
        standing = self._standing()
        marks = [m for m in self._tables.marks.values() if m.sequence > since and m.set_aside is None]
        shown, following = page(marks, listing="owed rows", key=_place, limit=limit, after=after)
        return OwedPage(standing, [mark.row for mark in shown], following)

    async def settle(self, rows: Sequence[Row], *, peer: Identity) -> int:
        if not self._hear_of(peer):
            return 0
        settled = [mark for mark in map(self._marked, rows) if mark is not None]
        for mark in settled:
            del self._tables.marks[mark.row.kind, mark.row.key]
            self._forget_settled(mark.row.body)
        return len(settled)

    def _marked(self, row: Row) -> Mark | None:
        mark = self._tables.marks.get((row.kind, row.key))
        return mark if mark is not None and mark.row.token == row.token else None

    def _forget_settled(self, body: Body) -> None:
        if isinstance(body, EndFact) and body.event.batch_id in self._tables.batches:
            forget_told_ends(self._tables, self._tables.batches[body.event.batch_id])

    async def set_aside(self, refused: Sequence[SetAside]) -> int:
        found = 0
        for each in refused:
            mark = self._tables.marks.get((each.kind, each.key))
            if mark is not None and mark.row.token == each.token:
                self._tables.marks[each.kind, each.key] = replace(mark, set_aside=each)
                found += 1
        return found

    async def list_set_aside(self, *, limit: int) -> Sequence[SetAside]:
        found = (mark.set_aside for mark in self._tables.marks.values())
        return [each for each in found if each is not None][:limit]

    async def count_owed(self) -> Owed:
        marks = self._tables.marks.values()
        owed = [mark for mark in marks if mark.set_aside is None]
        oldest = min((mark.at for mark in owed), default=None)
        return Owed(rows=len(owed), set_aside=len(marks) - len(owed), oldest=oldest)

    async def distrust(self, peer: Identity) -> int:
        for body in list(self._tables.all_rows()):
            self._tables.mark(row_of(body))
        self._tables.peer = peer
        return len(self._tables.marks)

    # -- merging -------------------------------------------------------------------------------------

    async def reincarnate(self) -> Identity:
        self._tables.incarnation = uuid4()
        return self._tables.identity

    async def merge(
        self, rows: Sequence[Row], *, source: Identity, expects: Identity | None = None
    ) -> Merged:
        if expects is not None and not self._tables.identity.continues(expects):
            return Merged(self._standing(), [], expected=False)
        merges = [self._merge(row) for row in rows]
        self._hear_of(source)
        return Merged(self._standing(), merges)

    def _merge(self, row: Row) -> Merge:
        if self._is_obsolete(row.body):
            return Merge(row, Fate.HELD, None)
        stored = self._tables.stored(row.body)
        token = row_of(stored).token if stored is not None else None
        try:
            body = merged(stored, row.body)
        except GristmillError as error:
            return Merge(row, Fate.REFUSED, token, str(error))
        if waits_for := self._waits_for(body):
            return Merge(row, Fate.WITHHELD, token, f"{waits_for} not here yet")
        self._log_conflicts(stored, row.body, body)
        if row_of(body).token != token:
            self._store(body)
        return Merge(row, Fate.HELD, row_of(body).token)

    def _log_conflicts(self, stored: Body | None, incoming: Body, after: Body) -> None:
        match stored, incoming, after:
            case DocumentFacts(), DocumentFacts(), DocumentFacts():
                owed, now = self._tables.is_owed(stored), self._tables.clock.now()
                for found in conflicts(stored, incoming, after, owed=owed, now=now):
                    self._tables.conflicts.setdefault(found.key, found)

    def _is_obsolete(self, body: Body) -> bool:
        """Whether nothing here can need the row any more."""
        match body:
            case Record():
                facts = self._tables.batches.get(body.batch_id)
                return facts is not None and facts.forgets(body)
            case ChunksRow():
                document = self._tables.documents.get(body.content.document_id)
                return document is not None and not document.needs(body.content.version, body.ordinal)
            case _:
                return False

    def _waits_for(self, body: Body) -> str | None:
        """What must be here before the row, and is not (A7, D1)."""
        match body:
            case Record() if body.batch_id not in self._tables.batches:
                return "its batch is"
            case DocumentFacts(live=Pointer() as live):
                is_here = is_complete(self._tables, live, body.document_id)
                return None if is_here else "its chunks and vectors are"
            case _:
                return None

    def _store(self, body: Body) -> None:
        self._tables.put(body)
        match body:
            case BatchFacts():
                forget_batch(self._tables, body)
                self._recount(body)
            case Record():
                if body.worker is not None and _is_gone(self._tables, body.worker):
                    self._tables.returned.add(body.worker)
                self._recount(self._tables.batches[body.batch_id])
            case DocumentFacts():
                forget_versions(self._tables, body)
                self._owe_outlived(body)
            case WorkerRow() if body.gone and self._holds(body):
                self._tables.returned.add(body.worker.worker_id)
            case EndFact() if body.event.batch_id in self._tables.batches:
                forget_told_ends(self._tables, self._tables.batches[body.event.batch_id])
                self._recount(self._tables.batches[body.event.batch_id])

    def _owe_outlived(self, facts: DocumentFacts) -> None:
        """The other database has dropped the chunks, and takes those that were staged after the deletion."""
        live = facts.outlived
        if live is None:
            return
        row = self._tables.chunks[facts.document_id][live.version]
        if row.ordinal <= facts.deleted:
            self._tables.keep(replace(row, ordinal=live.edited, write_id=live.write_id))

    def _holds(self, row: WorkerRow) -> bool:
        worker_id = row.worker.worker_id
        return any(r.worker == worker_id for each in self._tables.records.values() for r in each.values())

    def _recount(self, facts: BatchFacts) -> None:
        """What the records here now say of the end of the batch."""
        found = counters(self._tables.records.get(facts.batch_id, {}).values())
        event_id = end_event_id(facts.batch_id, facts.round)
        if confirms_end(facts, found):
            self._tables.unconfirmed.discard(event_id)
        else:
            self._tables.unconfirmed.add(event_id)

    # -- comparing and copying -----------------------------------------------------------------------

    async def rows(self, *, limit: int, after: str | None = None) -> RowPage:
        every = [row_of(body) for body in self._tables.all_rows()]
        return RowPage(*page(every, listing="rows", key=_key, limit=limit, after=after))

    async def find(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        stored = (self._tables.stored(row.body) for row in rows)
        return [None if body is None else row_of(body) for body in stored]

    # -- conflicts -----------------------------------------------------------------------------------

    async def conflicts(self, *, limit: int) -> Conflicts:
        newest = list(reversed(self._tables.conflicts.values()))
        return Conflicts(len(newest), newest[:limit])

    # -- tombstones ----------------------------------------------------------------------------------

    async def purge(self, older_than: timedelta) -> int:
        for key in list(self._tables.conflicts)[:-KEPT]:
            del self._tables.conflicts[key]
        before = self._tables.clock.now() - older_than
        old = [body for body in self._tables.all_rows() if is_tombstone(body)]
        gone = [body for body in old if _died_at(body) < before and not self._tables.is_owed(body)]
        for body in gone:
            self._tables.drop(body)
        return len(gone)


def _is_gone(tables: Tables, worker_id: str) -> bool:
    row = tables.workers.get(worker_id)
    return row is not None and row.gone


def _died_at(body: Body) -> datetime:
    match body:
        case BatchFacts(deleted_at=datetime() as deleted_at):
            return deleted_at
        case DocumentFacts():
            return moment(body.deleted)
        case WorkerRow():
            return body.worker.renewed_at
        case _:
            raise ValueError(f"{body!r} is no tombstone.")


def _place(mark: Mark) -> tuple[int, str]:
    return _key(mark.row)


def _key(row: Row) -> tuple[int, str]:
    return row.kind.value, row.key
