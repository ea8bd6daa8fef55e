"""What databases tell each other of a document: what it should show, what it shows, and whether it was deleted (V4, D1).

Ordinals and stamps are hybrid logical ones, microseconds that only ever rise: ``max(now, seen + 1)``. The later
staging, edit or deletion wins; a version that replaced another one brings its own metadata, whenever that one was edited.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from gristmill.domain.document import Document, DocumentVersion

# How many writes one may be behind and still be told from one that the other side never saw.
SEEN = 8


@dataclass(frozen=True, slots=True)
class Pointer:
    """A version of a document with the title and metadata it was staged or edited with.

    ``edited`` is the stamp of the last edit of the metadata, the ordinal before any. ``shown_at`` and ``created_at``
    are set once it is live, and ``seen`` is then of what was live before it: the newest write ids, newest first.
    """

    ordinal: int
    edited: int
    version: str
    content_hash: str
    pipeline: str
    title: str | None
    metadata: Mapping[str, object]
    chunks: int
    write_id: str
    created_at: datetime | None = None
    shown_at: datetime | None = None
    seen: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, int, str]:
        return self.ordinal, self.edited, self.write_id


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """``deleted`` is the stamp of the last deletion, 0 without one; what was neither staged nor edited after it is gone.

    ``buried`` is the ordinal of the newest version that a deletion took away, 0 while one is live: an edit of an older
    one that comes late brings nothing back. ``taken`` is of what the last deletion took, as ``Pointer.seen``.
    """

    document_id: UUID
    collection: str
    source: str
    wanted: Pointer | None = None
    live: Pointer | None = None
    deleted: int = 0
    buried: int = 0
    taken: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        pointers = [pointer.write_id if pointer else "" for pointer in (self.wanted, self.live)]
        more = [str(self.buried), *self.taken[:1]] if self.buried or self.taken else []
        return "|".join([*pointers, str(self.deleted), *more])

    @property
    def outlived(self) -> Pointer | None:
        """What is live because it was edited after a deletion on another side, where its chunks are gone."""
        live = self.live
        return live if live is not None and live.ordinal <= self.deleted else None

    @property
    def seen(self) -> int:
        """The highest stamp of the row; the next one is higher."""
        return max(
            self.deleted,
            *(max(each.ordinal, each.edited) if each else 0 for each in (self.wanted, self.live)),
        )

    def next_stamp(self, now_microseconds: int) -> int:
        return max(now_microseconds, self.seen + 1)

    def needs(self, version: str, ordinal: int) -> bool:
        """Whether the chunks of a version staged at ``ordinal`` may still be asked for."""
        if any(each and each.version == version for each in (self.wanted, self.live)):
            return True
        # Two of one ordinal can come from two sides of a split, and either may be the one to be shown.
        return ordinal > self.deleted and ordinal >= (self.live.ordinal if self.live else 0)

    def staged(self, content: DocumentVersion, *, stamp: int, write_id: str) -> "DocumentFacts":
        wanted = Pointer(
            ordinal=stamp,
            edited=stamp,
            version=content.version,
            content_hash=content.content_hash,
            pipeline=content.pipeline,
            title=content.title,
            metadata=content.metadata,
            chunks=len(content.chunks),
            write_id=write_id,
        )
        return replace(self, collection=content.collection, source=content.source, wanted=wanted)

    def published(self, *, write_id: str, now: datetime) -> "DocumentFacts":
        """Show what is wanted."""
        assert self.wanted is not None
        created_at = self.live.created_at if self.live else now
        return self.showing(replace(self.wanted, write_id=write_id, created_at=created_at, shown_at=now))

    def showing(self, live: Pointer) -> "DocumentFacts":
        """With this pointer in the place of the live one."""
        return replace(self, live=replace(live, seen=self._known()), buried=0)

    def _known(self) -> tuple[str, ...]:
        """Made of one pointer, and so the same wherever its write id comes first."""
        return self.taken if self.live is None else (self.live.write_id, *self.live.seen)[:SEEN]

    def edit(
        self, metadata: Mapping[str, object], *, stamp: int, write_id: str, now: datetime
    ) -> "DocumentFacts":
        assert self.live is not None
        return self.showing(
            replace(self.live, metadata=metadata, edited=stamp, write_id=write_id, shown_at=now)
        )

    def delete(self, *, stamp: int) -> "DocumentFacts":
        buried = max(self.buried, self.live.ordinal if self.live else 0)
        return replace(self, wanted=None, live=None, deleted=stamp, buried=buried, taken=self._known())

    def document(self) -> Document | None:
        """As readers see it; None if it shows nothing."""
        live = self.live
        if live is None or live.created_at is None or live.shown_at is None:
            return None
        return Document(
            document_id=self.document_id,
            collection=self.collection,
            source=self.source,
            version=live.version,
            content_hash=live.content_hash,
            pipeline=live.pipeline,
            title=live.title,
            metadata=live.metadata,
            chunks=live.chunks,
            created_at=live.created_at,
            updated_at=live.shown_at,
        )


def join_documents(left: DocumentFacts, right: DocumentFacts) -> DocumentFacts:
    """The least row that holds what both know: commutative, associative, idempotent."""
    deleted, taken = max((each.deleted, each.taken) for each in (left, right))
    lives = [each.live for each in (left, right) if each.live is not None]
    cut = (each.ordinal for each in lives if each.edited <= deleted)
    buried = max(left.buried, right.buried, *cut)
    live = _latest(each for each in lives if each.edited > deleted and each.ordinal >= buried)
    staged = (each.wanted for each in (left, right) if each.wanted is not None)
    wanted = _latest(each for each in staged if each.ordinal > deleted)
    if wanted is None and live is not None:
        wanted = replace(live, created_at=None, shown_at=None, seen=())
    return replace(left, wanted=wanted, live=live, deleted=deleted, buried=0 if live else buried, taken=taken)


def _latest(pointers: Iterable[Pointer]) -> Pointer | None:
    return max(pointers, key=lambda pointer: pointer.order, default=None)
