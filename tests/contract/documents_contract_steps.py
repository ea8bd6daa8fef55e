"""Steps that the document contract takes again and again, and brute-force answers to compare with."""

import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from gristmill.domain.document import Chunk, DocumentVersion, Hit
from gristmill.ports.database import Database
from gristmill.ports.documents import ChunkQuery, Legs, Published
from tests.support import builders

EVERYTHING = 10_000


async def open_papers(database: Database, *names: str) -> None:
    for name in names or ("papers",):
        await database.documents.open_collection(name, builders.EMBEDDING)


async def stage(database: Database, *versions: DocumentVersion) -> None:
    """Commit the versions and store all their vectors; nothing is shown yet."""
    await database.documents.stage_versions(versions)
    await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(*versions))


async def show(database: Database, *versions: DocumentVersion) -> None:
    """Commit, embed and publish the versions; each must become live."""
    wanted = await database.documents.stage_versions(versions)
    await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(*versions))
    ids = [version.document_id for version in versions]
    published = await database.documents.publish(dict(zip(ids, wanted, strict=True)))
    assert set(published.values()) <= {Published.LIVE}


async def search(database: Database, words: str | None = None, **query: Any) -> Legs:
    fields = {"collection": "papers", "limit": EVERYTHING, "tokens": words and words.split()} | query
    return await database.documents.search(ChunkQuery(**fields))


async def found(database: Database, words: str, **query: Any) -> set[str]:
    """The texts of all chunks that hold one of the words."""
    return {hit.text for hit in (await search(database, words, **query)).text}


async def near(database: Database, **query: Any) -> set[str]:
    """The texts of all chunks that the vector leg can see."""
    legs = await search(database, vector=builders.random_unit(1), **query)
    return {hit.text for hit in legs.vector}


async def chunk_texts(database: Database, document_id: UUID) -> list[str]:
    return [hit.text for hit in await database.documents.list_chunks(document_id)]


async def counts(database: Database) -> dict[str, tuple[int, int]]:
    """Documents and chunks of each collection."""
    summaries = await database.documents.list_collections()
    return {each.collection.name: (each.documents, each.chunks) for each in summaries}


def expected_hit(version: DocumentVersion, chunk: Chunk, score: float) -> Hit:
    return Hit(
        chunk_id=chunk.chunk_id,
        document_id=version.document_id,
        version=version.version,
        source=version.source,
        title=version.title,
        heading=chunk.heading,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        metadata=version.metadata,
        score=score,
    )


def bm25(versions: Sequence[DocumentVersion], words: str) -> list[tuple[UUID, float]]:
    """Every chunk that holds one of the words with its score, best first, straight from the formula."""
    chunks = [chunk for version in versions for chunk in version.chunks]
    mean = sum(len(chunk.tokens) for chunk in chunks) / len(chunks)
    scored = []
    for chunk in chunks:
        score = 0.0
        for word in words.split():
            n = sum(word in other.tokens for other in chunks)
            idf = math.log(1 + (len(chunks) - n + 0.5) / (n + 0.5))
            tf = chunk.tokens.count(word)
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(chunk.tokens) / mean))
        if score > 0:
            scored.append((chunk.chunk_id, score))
    return best_first(scored)


def cosines(versions: Sequence[DocumentVersion], vector: Any) -> list[tuple[UUID, float]]:
    vectors = builders.vectors_of(*versions)
    chunks = [chunk for version in versions for chunk in version.chunks]
    return best_first(
        [
            (chunk.chunk_id, float(np.dot(vectors[chunk.vector_id].astype(float), vector.astype(float))))
            for chunk in chunks
        ]
    )


def best_first(scored: list[tuple[UUID, float]]) -> list[tuple[UUID, float]]:
    return sorted(scored, key=lambda each: (-each[1], each[0]))


def check_leg(
    hits: Sequence[Hit],
    expected: Sequence[tuple[UUID, float]],
    *,
    tolerance: float,
    limit: int = EVERYTHING,
) -> None:
    """The hits have the scores expected at every place, best first; ids agree where scores tell them apart."""
    assert len(hits) == min(limit, len(expected))
    scores = dict(expected)
    assert {hit.chunk_id for hit in hits} <= set(scores)
    assert len({hit.chunk_id for hit in hits}) == len(hits)
    for hit, (_, score) in zip(hits, expected, strict=False):
        assert math.isclose(hit.score, score, rel_tol=tolerance, abs_tol=tolerance)
        assert math.isclose(hit.score, scores[hit.chunk_id], rel_tol=tolerance, abs_tol=tolerance)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
