"""Search: both legs, fused; an answer says what served it and whether it is less than was asked for."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog

from gristmill.domain.document import Hit, embedded_text
from gristmill.domain.failures import ItemError
from gristmill.domain.fusion import coverage, fuse
from gristmill.engine.core import Core
from gristmill.pipeline.documents import DEFAULT_COLLECTION
from gristmill.pipeline.markings import Marked, mark
from gristmill.pipeline.slips import slips
from gristmill.pipeline.tokens import index_tokens, query_tokens
from gristmill.ports.documents import ChunkQuery, Legs, Vector
from gristmill.ports.errors import CollectionConflictError, CollectionNotFoundError, GristmillError
from gristmill.ports.failover import serving

_log = structlog.get_logger(__name__)

MAX_LIMIT = 1_000
MAX_QUERY_CHARACTERS = 10_000


class SearchType(StrEnum):
    HYBRID = "hybrid"
    VECTOR = "vector"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """``filters``: metadata key to accepted values; all keys must match."""

    query: str
    type: SearchType = SearchType.HYBRID
    limit: int = 10
    collection: str = DEFAULT_COLLECTION
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """One passage; ``marked`` is a window of it around the matched words."""

    hit: Hit
    score: float
    marked: Marked


@dataclass(frozen=True, slots=True)
class Answer:
    """``degraded``: a leg that was asked for did not answer, and ``reason`` says why. ``stale``: from cache.

    ``instead``: no word of the query is anywhere, so these, one slip away, were looked for.
    """

    query: str
    type: SearchType
    served_by: str
    degraded: bool
    stale: bool
    reason: str | None
    results: Sequence[Found]
    instead: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "type": self.type.value,
            "served_by": self.served_by,
            "degraded": self.degraded,
            "stale": self.stale,
            "reason": self.reason,
            "instead": list(self.instead),
            "results": [_found_json(found) for found in self.results],
        }


class BadQueryError(GristmillError):
    pass


async def search(core: Core, request: SearchRequest) -> Answer:
    """Raises BadQueryError, CollectionNotFoundError, CollectionConflictError, StoreUnavailableError."""
    _check(request)
    await _check_collection(core, request)
    tokens = query_tokens(request.query)
    vector, reason = await _query_vector(core, request)
    text_leg = request.type is not SearchType.VECTOR or vector is None
    query = ChunkQuery(
        collection=request.collection,
        limit=_leg_limit(core, request),
        tokens=tokens if text_leg else None,
        vector=vector,
        filters=request.filters,
    )
    legs = await core.database.documents.search(query)
    instead: dict[str, str] = {}
    if query.tokens and not legs.text:
        legs, instead = await _one_slip_away(core, query, legs, slips(request.query))
    if request.type is SearchType.VECTOR and vector is not None and not legs.vector:
        legs = await core.database.documents.search(replace(query, tokens=tokens, vector=None))
        reason = "Vector search found nothing, so text search answered." if legs.text else reason
    return Answer(
        query=request.query,
        type=request.type,
        served_by=serving(core.database),
        degraded=reason is not None,
        stale=False,
        reason=reason,
        results=_ranked(core, legs, request, list(instead) or tokens),
        instead=list(dict.fromkeys(instead.values())),
    )


def _check(request: SearchRequest) -> None:
    if not request.query.strip():
        raise BadQueryError("The query is empty. Ask for at least one word.")
    if len(request.query) > MAX_QUERY_CHARACTERS:
        raise BadQueryError(f"The query is over {MAX_QUERY_CHARACTERS:,} characters. Ask a shorter one.")
    if not 1 <= request.limit <= MAX_LIMIT:
        raise BadQueryError(f"The limit is {request.limit}; it can be 1 to {MAX_LIMIT}.")


def _leg_limit(core: Core, request: SearchRequest) -> int:
    """Fusing needs more of each leg than is shown; a leg alone does not."""
    fused = request.type is SearchType.HYBRID
    return max(request.limit, core.search.leg_hits) if fused else request.limit


async def _check_collection(core: Core, request: SearchRequest) -> None:
    """A vector of another model would give an answer, and a meaningless one."""
    known = {
        each.collection.name: each.collection for each in await core.database.documents.list_collections()
    }
    collection = known.get(request.collection)
    if collection is None:
        raise CollectionNotFoundError(request.collection, list(known))
    if request.type is not SearchType.TEXT and collection.embedding != core.embedding:
        raise CollectionConflictError(collection.name, collection.embedding.key, core.embedding.key)


async def _one_slip_away(
    core: Core, query: ChunkQuery, legs: Legs, near: Mapping[str, str]
) -> tuple[Legs, dict[str, str]]:
    """What is found by the tokens near those of the query, and which of them it is that it holds."""
    found = await core.database.documents.search(replace(query, tokens=list(near))) if near else legs
    held = {
        token for hit in found.text for token in index_tokens(embedded_text(hit.title, hit.heading, hit.text))
    }
    return found, {token: word for token, word in near.items() if token in held}


async def _query_vector(core: Core, request: SearchRequest) -> tuple[Vector | None, str | None]:
    """The query's vector, or None with the reason why there is none."""
    if request.type is SearchType.TEXT:
        return None, None
    try:
        embedder = await asyncio.to_thread(core.load_embedder)
        return await asyncio.to_thread(embedder.embed_query, request.query), None
    except (ItemError, OSError, MemoryError) as error:
        _log.warning("query_not_embedded", reason=str(error))
        return None, f"The query could not be embedded ({error}), so only text search answered."


def _ranked(core: Core, legs: Legs, request: SearchRequest, tokens: Sequence[str]) -> list[Found]:
    hits: dict[UUID, Hit] = {hit.chunk_id: hit for hit in (*legs.text, *legs.vector)}
    scores: list[tuple[UUID, float]]
    if request.type is SearchType.HYBRID and legs.vector:
        options = core.search
        scores = fuse(
            [(hit.chunk_id, hit.score) for hit in legs.text],
            [(hit.chunk_id, hit.score) for hit in legs.vector],
            fusion=options.fusion,
            text_weight=options.text_weight,
            vector_weight=options.vector_weight,
            text_coverage=_coverage(legs.text, tokens),
        )
    else:
        scores = [(hit.chunk_id, hit.score) for hit in (legs.vector or legs.text)]
    return [
        Found(hits[chunk], score, mark(hits[chunk].text, tokens)) for chunk, score in scores[: request.limit]
    ]


def _coverage(text: Sequence[Hit], tokens: Sequence[str]) -> float:
    if not text:
        return 0.0
    best = text[0]
    return coverage(tokens, index_tokens(embedded_text(best.title, best.heading, best.text)))


def _found_json(found: Found) -> dict[str, Any]:
    hit = found.hit
    return {
        "document_id": str(hit.document_id),
        "chunk_id": str(hit.chunk_id),
        "source": hit.source,
        "title": hit.title,
        "heading": hit.heading or None,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "score": round(found.score, 6),
        "text": hit.text,
        "marked": {"text": found.marked.text, "spans": [list(span) for span in found.marked.spans]},
        "metadata": dict(hit.metadata),
    }
