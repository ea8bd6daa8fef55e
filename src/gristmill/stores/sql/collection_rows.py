"""Rows of collections and of their embedding identities, and the numbers that rows are known by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, BindParameter, Connection, Row, bindparam, case, select, update

from gristmill.domain.document import Collection, EmbeddingIdentity
from gristmill.ports.documents import CollectionSummary
from gristmill.ports.errors import CollectionConflictError, CollectionNotFoundError
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.tables_documents import collections, embeddings, sequences
from gristmill.stores.sql.upserts import insert

_IDENTITY = (
    embeddings.c.provider,
    embeddings.c.model,
    embeddings.c.dimensions,
    embeddings.c.task,
    embeddings.c.normalised,
)
_WITH_EMBEDDING = select(collections, *_IDENTITY, embeddings.c.incarnation).join(
    embeddings, embeddings.c.no == collections.c.embedding_no
)
_IN_ORDER = _WITH_EMBEDDING.order_by(collections.c.name)
_BY_NAME = _WITH_EMBEDDING.where(collections.c.name == bindparam("name"))
_ADD_UP = (
    update(collections)
    .where(collections.c.no == bindparam("collection_no"))
    .values(
        documents=collections.c.documents + bindparam("more_documents"),
        chunks=collections.c.chunks + bindparam("more_chunks"),
        tokens=collections.c.tokens + bindparam("more_tokens"),
    )
)
_COUNT: BindParameter[int] = bindparam("count", type_=BigInteger)
_BEFORE: BindParameter[int] = bindparam("before", type_=BigInteger)
_DRAW = RawStatement(
    insert(sequences)
    .values(name=bindparam("sequence"), last=_BEFORE + _COUNT)
    .or_update(
        ["name"],
        {"last": _COUNT + case((sequences.c.last < _BEFORE, _BEFORE), else_=sequences.c.last)},
    )
    .returning(sequences.c.last)
)


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """``documents``, ``chunks`` and ``tokens`` are counts of what is live."""

    no: int
    collection: Collection
    embedding_no: int
    incarnation: UUID
    documents: int
    chunks: int
    tokens: int


@dataclass(slots=True)
class Change:
    """What one transaction adds to the live versions of a collection, or takes away."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0


def find(connection: Connection, name: str) -> CollectionRow:
    """Raises CollectionNotFoundError."""
    row = connection.execute(_BY_NAME, {"name": name}).one_or_none()
    if row is None:
        raise CollectionNotFoundError(name, names(connection))
    return _collection_row(row)


def every(connection: Connection) -> list[CollectionRow]:
    """By name."""
    return [_collection_row(row) for row in connection.execute(_IN_ORDER)]


def names(connection: Connection) -> Sequence[str]:
    return connection.execute(select(collections.c.name).order_by(collections.c.name)).scalars().all()


def open_collection(
    connection: Connection, name: str, *, embedding: EmbeddingIdentity, now: datetime
) -> Collection:
    """Raises CollectionConflictError."""
    stored = connection.execute(_BY_NAME, {"name": name}).one_or_none()
    if stored is None:
        row = {
            "name": name,
            "embedding_no": embedding_number(connection, embedding),
            "created_at": now,
            "documents": 0,
            "chunks": 0,
            "tokens": 0,
        }
        connection.execute(insert(collections).values(row).or_nothing())
        stored = connection.execute(_BY_NAME, {"name": name}).one()
    collection = _collection(stored)
    if collection.embedding != embedding:
        raise CollectionConflictError(name, collection.embedding.key, embedding.key)
    return collection


def embedding_number(connection: Connection, embedding: EmbeddingIdentity) -> int:
    """The number of the identity, which is stored if it was not."""
    known = connection.execute(select(embeddings.c.no).where(embeddings.c.key == embedding.key)).scalar()
    if known is not None:
        return int(known)
    row = {
        "key": embedding.key,
        "provider": embedding.provider,
        "model": embedding.model,
        "dimensions": embedding.dimensions,
        "task": embedding.task,
        "normalised": embedding.normalised,
        "incarnation": uuid4(),
    }
    connection.execute(insert(embeddings).values(row).or_nothing())
    return int(
        connection.execute(select(embeddings.c.no).where(embeddings.c.key == embedding.key)).scalar_one()
    )


def summaries(connection: Connection) -> list[CollectionSummary]:
    return [
        CollectionSummary(collection=row.collection, documents=row.documents, chunks=row.chunks)
        for row in every(connection)
    ]


def add_up(connection: Connection, changes: Mapping[int, Change]) -> None:
    """Keep the counters and the revision of collections, by their number, in step with their documents."""
    rows = [
        {
            "collection_no": number,
            "more_documents": change.documents,
            "more_chunks": change.chunks,
            "more_tokens": change.tokens,
        }
        for number, change in sorted(changes.items())
    ]
    if rows:
        connection.execute(_ADD_UP, rows)
    for number in sorted(changes):
        draw(connection, _revisions_of(number), 1)


def revision(connection: Connection, collection_no: int) -> int:
    """A number that is another one after every change of what is live in the collection."""
    statement = select(sequences.c.last).where(sequences.c.name == _revisions_of(collection_no))
    return int(connection.execute(statement).scalar() or 0)


def _revisions_of(collection_no: int) -> str:
    return f"revisions of collection {collection_no}"


def draw(connection: Connection, sequence: str, count: int, *, at_least: int = 1) -> range:
    """Numbers, one after the other, that were never drawn before. Only in a transaction that writes.

    Until it ends nobody else can draw of the same sequence: who sees a number sees all that are lower.
    """
    parameters = {"sequence": sequence, "count": count, "before": at_least - 1}
    last = int(_DRAW.execute(connection, parameters).scalar_one())
    return range(last - count + 1, last + 1)


def _collection_row(row: Row[Any]) -> CollectionRow:
    return CollectionRow(
        no=row.no,
        collection=_collection(row),
        embedding_no=row.embedding_no,
        incarnation=row.incarnation,
        documents=row.documents,
        chunks=row.chunks,
        tokens=row.tokens,
    )


def _collection(row: Row[Any]) -> Collection:
    embedding = EmbeddingIdentity(
        provider=row.provider,
        model=row.model,
        dimensions=row.dimensions,
        task=row.task,
        normalised=row.normalised,
    )
    return Collection(name=row.name, embedding=embedding, created_at=row.created_at)
