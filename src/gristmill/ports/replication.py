"""The replication port: what one database owes another, and how rows come from there.

A write of the other ports marks, in the same transaction, every row it changes as *owed*; the mark is the journal and
lives in the row. Whoever replicates reads owed rows here, merges them into the other database, and settles the marks.
Nothing needs a transaction over two databases: every step may be lost or repeated at any moment.

*Sequence*: each database numbers its writes; every transaction that changes something draws the next number and its
marks bear it. Numbers rise and need not be dense. A copy of a database restored to an earlier moment shows a lower
one, so the number also tells that writes are missing (A5); a mark that bears more than the number read before a write
is that write's, or a later one's.

A database that was never paired with another one may leave marks out until the first ``distrust``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from gristmill.domain.conflicts import Conflict
from gristmill.ports.rows import Kind, Row


@dataclass(frozen=True, slots=True)
class Identity:
    """Which copy of a database this is: ``incarnation`` is drawn when it is made, ``sequence`` is its last number.

    The number is 0 until the first write.
    """

    incarnation: UUID
    sequence: int

    def continues(self, earlier: "Identity | None") -> bool:
        """Whether a database that was ``earlier`` still has all it had then."""
        if earlier is None:
            return False
        return self.incarnation == earlier.incarnation and self.sequence >= earlier.sequence


@dataclass(frozen=True, slots=True)
class Missing:
    """What the serving database lacks, because the other one died before it had caught up (A4).

    ``rows`` is None when nobody knows the number.
    """

    rows: int | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Acting:
    """Which database serves; a replicated row of its own (A1). Term 0 means that none was chosen yet.

    A database that is copied to says so in its row of term 0, which is not replicated: it lacks rows until that ends.
    """

    term: int = 0
    database: str = ""
    since: datetime | None = None
    by: str = ""
    reason: str = ""
    missing: Missing | None = None

    @property
    def is_half_copied(self) -> bool:
        return self.term == 0 and self.missing is not None

    def beats(self, other: "Acting") -> bool:
        """The higher term wins; of two of one term, written in a split, the same one everywhere."""
        return (self.term, self.database, self.by) > (other.term, other.database, other.by)


@dataclass(frozen=True, slots=True)
class Standing:
    """``peer`` is the other database as it was when this one last heard of it; None before the first time."""

    identity: Identity
    acting: Acting
    peer: Identity | None


@dataclass(frozen=True, slots=True)
class OwedPage:
    """``after`` is the cursor of the next page, None on the last. ``standing`` was read before the rows."""

    standing: Standing
    rows: Sequence[Row]
    after: str | None


@dataclass(frozen=True, slots=True)
class RowPage:
    """``after`` is the cursor of the next page, None on the last."""

    rows: Sequence[Row]
    after: str | None


class Fate(StrEnum):
    HELD = "held"  # This row, or one that holds all of it and more.
    WITHHELD = "withheld"  # What it refers to is not here yet; it comes again later (D1).
    REFUSED = "refused"  # It can never be stored here, for a reason that is no outage (A3).


@dataclass(frozen=True, slots=True)
class Merge:
    """What became of one row. ``token`` is that of the row held afterwards, None when there is none."""

    row: Row
    fate: Fate
    token: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """``standing`` was read after the rows were merged; ``merges`` are in the order of the rows given.

    ``expected``: whether this was the database that was expected. If not, nothing was merged and ``merges`` is empty.
    """

    standing: Standing
    merges: Sequence[Merge]
    expected: bool = True


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that the other database refused; it is not sent again until it changes."""

    kind: Kind
    key: str
    token: str
    reason: str


@dataclass(frozen=True, slots=True)
class Owed:
    """``oldest`` is when the oldest mark was set, None when nothing is owed or it is not known."""

    rows: int
    set_aside: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Conflicts:
    """``count`` is how many are kept: the newest ones, about ``domain.conflicts.KEPT`` of them."""

    count: int
    newest: Sequence[Conflict]


@dataclass(slots=True)
class Acknowledgement:
    """How many writes were acknowledged while it was open, and how many of them by one database ``alone`` (A6)."""

    writes: int = 0
    alone: int = 0

    @property
    def replicated(self) -> bool:
        """Whether all of them survive the permanent loss of either database."""
        return self.writes > 0 and not self.alone


_open: ContextVar[tuple[Acknowledgement, ...]] = ContextVar("acknowledgements", default=())


@contextmanager
def acknowledging() -> Iterator[Acknowledgement]:
    """Collect how the writes made inside, also by tasks that are started inside, are acknowledged."""
    acknowledgement = Acknowledgement()
    token = _open.set((*_open.get(), acknowledgement))
    try:
        yield acknowledgement
    finally:
        _open.reset(token)


def acknowledge(*, replicated: bool) -> None:
    """Tell all that collect of one more write."""
    for acknowledgement in _open.get():
        acknowledgement.writes += 1
        acknowledgement.alone += not replicated


class Replication(Protocol):
    """Every method is atomic but ``merge``, which is atomic for each row. All may raise StoreUnavailableError."""

    async def standing(self) -> Standing:
        """One cheap read: it goes before every call of the other ports."""
        ...

    async def touch(self) -> None:
        """Write something durable that changes nothing: a database that is full or read-only raises."""
        ...

    async def set_acting(self, acting: Acting) -> Acting:
        """Store the row if it beats the stored one (compare-and-set). Returns the one that is held afterwards."""
        ...

    async def owed(self, *, limit: int, since: int = 0, after: str | None = None) -> OwedPage:
        """Up to ``limit`` owed rows whose mark bears a number above ``since``, in the order of their kinds.

        A page may be shorter than ``limit``; only ``after`` tells the last one. Rows that are marked while pages are
        read may be left out. Set-aside rows are not among them. Raises ValueError for a cursor that is not ours.
        """
        ...

    async def reincarnate(self) -> Identity:
        """Draw a new incarnation: this database lacks writes, and the one that must send them does not answer now."""
        ...

    async def merge(
        self, rows: Sequence[Row], *, source: Identity, expects: Identity | None = None
    ) -> Merged:
        """Merge nothing unless this database continues ``expects``, what the source remembers of it (A5).

        Compared in the same step as the first row is merged: once its number has risen past what it had before it came
        back older, nobody could tell. Then store ``rows.merged`` of each row and the stored one, each in one atomic compare-and-write (V3).

        Sets no mark and clears none. A record of a batch that forgets it (``BatchFacts.forgets``) is dropped, and
        counts as held; a tombstone takes the records of its batch and its delivered events with it. A document whose live version is not
        here with all its vectors is withheld, and so is a record whose batch is not here. Whether a batch is shown as ended is
        found anew from the records here (``facts.confirms_end``). Chunks that no document here can need (``DocumentFacts.needs``) are
        dropped, and count as held. What a document that is here loses by it is kept (``conflicts``). Remembers ``source`` as the peer if it continues the one remembered.
        """
        ...

    async def settle(self, rows: Sequence[Row], *, peer: Identity) -> int:
        """Clear the marks of those rows that are still exactly as given, by their token. Returns how many.

        Remembers the peer that confirmed them. If another incarnation is remembered, nothing is cleared.
        """
        ...

    async def set_aside(self, refused: Sequence[SetAside]) -> int:
        """Turn the marks of rows that are still exactly so into set-aside ones. Returns how many."""
        ...

    async def list_set_aside(self, *, limit: int) -> Sequence[SetAside]: ...

    async def count_owed(self) -> Owed: ...

    async def distrust(self, peer: Identity) -> int:
        """The other database may have lost any row: mark all as owed, set-aside ones too, then remember ``peer``.

        Repeatable: the peer is remembered last. Returns how many rows are owed now.
        """
        ...

    # -- comparing and copying -----------------------------------------------------------------------

    async def rows(self, *, limit: int, after: str | None = None) -> RowPage:
        """Up to ``limit`` of all rows that are held here, owed or not, tombstones too, in the order of their kinds.

        Changes nothing. Within a kind the order is the database's own. A page may be shorter than ``limit``, also empty;
        only ``after`` tells the last one. A row that nobody changes meanwhile is listed exactly once. A database that was never
        paired stays so: facts that it does not keep are made for the answer, and may bear other write ids the next time.
        Raises ValueError for a cursor that is not ours.
        """
        ...

    async def find(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        """For each row the one of its kind and key that is held here, None where there is none. Changes nothing."""
        ...

    async def conflicts(self, *, limit: int) -> Conflicts:
        """Writes to documents that merges here found lost to those of another database, newest first (V4)."""
        ...

    async def purge(self, older_than: timedelta) -> int:
        """Forget tombstones, and workers that are gone, older than this whose mark is settled (B3); old conflicts too."""
        ...
