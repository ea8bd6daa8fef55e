"""Search: candidates from Qdrant, dropped unless their document shows them, scored and sorted here.

Nothing holds Qdrant still between the calls of a search. So the documents of the candidates are read before and
after: when one that changed of late was switched meanwhile, all is asked again, until what was read first is what
is live in the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from qdrant_client import models

from gristmill.domain.document import Hit
from gristmill.ports.documents import ChunkQuery, Legs, Vector
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.document_points import Stored
from gristmill.stores.qdrant.document_store import DocumentStore
from gristmill.stores.qdrant.points import Condition, Payload, Points, any_of, equals, where
from gristmill.stores.qdrant.ranking import Bm25
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.version_points import dimension_of, filter_value, hit_of, matches, term_of

# Longer ago than any search takes, and than clocks differ.
SETTLED = timedelta(minutes=1)
_ATTEMPTS = 20
_MORE = 20  # Candidates beyond the limit, and how many times more when they do not suffice.
_TIMES = 3
_GRAPH_CANDIDATES = 128
_COUNTED_EACH = 64
_MOST_TERMS = 1_000_000

Fetch = Callable[[int], Awaitable[list[models.ScoredPoint]]]
Live = dict[UUID, str | None]


@dataclass(slots=True)
class _Attempt:
    """``known``: what was live before it began; ``stored``: the documents as its candidates were dropped by them."""

    query: ChunkQuery
    chunks: Points
    known: Live
    stored: dict[UUID, Stored] = field(default_factory=dict)
    refetched: bool = False

    @property
    def conditions(self) -> list[Condition]:
        filters = [
            any_of("filters", [filter_value(key, each) for each in values])
            for key, values in self.query.filters.items()
        ]
        return [equals("collection", self.query.collection), *filters]

    def shows(self, chunk: Payload) -> bool:
        stored = self.stored.get(UUID(chunk["document_id"]))
        if stored is None or stored.live is None or stored.staging != chunk["staging"]:
            return False
        return not self.query.filters or matches(stored.live.metadata, self.query.filters)

    def hit(self, chunk: Payload, score: float) -> Hit:
        return hit_of(chunk, self.stored[UUID(chunk["document_id"])].document, score)


class DocumentsSearch(DocumentStore):
    async def search(self, query: ChunkQuery) -> Legs:
        known: Live = {}
        for _ in range(_ATTEMPTS):
            collection = (await self._collections([query.collection]))[query.collection]
            attempt = _Attempt(query, await self._chunks(collection), known)
            # The same documents for both legs, so that no hit of one is of another version than those of the other.
            text, vector = await asyncio.gather(
                self._text_leg(attempt, collection.get("mean_length")), self._vector_leg(attempt)
            )
            legs = Legs(text=text, vector=vector)
            known = await self._live_after(attempt)
            if self._is_settled(attempt, known):
                return legs
        return legs

    async def _live_after(self, attempt: _Attempt) -> Live:
        unsure = [
            each for each, stored in attempt.stored.items() if attempt.refetched or not self._settled(stored)
        ]
        stored = attempt.stored | (await self._stored(unsure) if unsure else {})
        return {each: found.staging for each, found in stored.items()}

    def _settled(self, stored: Stored) -> bool:
        return stored.live is not None and stored.switched_at < instant(self._clock.now() - SETTLED)

    def _is_settled(self, attempt: _Attempt, after: Live) -> bool:
        """Whether all that was live while the legs were asked is live now."""
        for each, stored in attempt.stored.items():
            used = stored.staging
            before = used if self._settled(stored) else attempt.known.get(each, "")
            if not before == used == after[each]:
                return False
        return True

    async def _read(self, attempt: _Attempt, document_ids: Iterable[UUID]) -> None:
        new = set(document_ids) - attempt.stored.keys()
        if new:
            for each, stored in (await self._stored(new)).items():
                attempt.stored.setdefault(each, stored)

    async def _leg(
        self,
        attempt: _Attempt,
        fetch: Fetch,
        score: Callable[[models.ScoredPoint], float],
        most: Callable[[float], float],
    ) -> list[Hit]:
        """The best hits. ``most``: how high a candidate can score here that Qdrant scores like this."""
        limit = attempt.query.limit
        size = limit + _MORE
        while True:
            candidates = await fetch(size)
            chunks = [each.payload or {} for each in candidates]
            await self._read(attempt, (UUID(each["document_id"]) for each in chunks))
            hits = sorted(
                (
                    attempt.hit(chunk, score(each))
                    for chunk, each in zip(chunks, candidates, strict=True)
                    if attempt.shows(chunk)
                ),
                key=lambda hit: (-hit.score, hit.chunk_id),
            )
            if len(candidates) < size or (
                len(hits) >= limit and most(candidates[-1].score) < hits[limit - 1].score
            ):
                return hits[:limit]
            size *= _TIMES
            attempt.refetched = True

    async def _vector_leg(self, attempt: _Attempt) -> list[Hit]:
        if attempt.query.vector is None:
            return []
        vector: Vector = attempt.query.vector

        async def fetch(size: int) -> list[models.ScoredPoint]:
            request = models.QueryRequest(
                query=vector.tolist(),
                using=schema.DENSE,
                filter=where(*attempt.conditions),
                params=models.SearchParams(hnsw_ef=max(_GRAPH_CANDIDATES, size)),
                limit=size,
                with_payload=models.PayloadSelectorExclude(exclude=["terms", "counts", "filters", "tokens"]),
            )
            return (await attempt.chunks.query_each([request]))[0]

        return await self._leg(attempt, fetch, lambda each: each.score, lambda score: score)

    async def _text_leg(self, attempt: _Attempt, index_mean_length: float | None) -> list[Hit]:
        terms = list(dict.fromkeys(map(term_of, attempt.query.tokens or ())))
        if not terms or index_mean_length is None:
            return []
        bm25 = await self._statistics(attempt, terms, index_mean_length)
        if not bm25.idf:
            return []

        async def fetch(size: int) -> list[models.ScoredPoint]:
            request = models.QueryRequest(
                query=_sparse_query(bm25),
                using=schema.TEXT,
                filter=where(*attempt.conditions),
                limit=size,
                with_payload=models.PayloadSelectorExclude(exclude=["filters", "tokens"]),
            )
            return (await attempt.chunks.query_each([request]))[0]

        hits = await self._leg(attempt, fetch, lambda each: bm25.score(each.payload or {}), bm25.most)
        # What only shares the dimension of a term scores nothing.
        return [hit for hit in hits if hit.score > 0]

    async def _statistics(self, attempt: _Attempt, terms: Sequence[int], index_mean_length: float) -> Bm25:
        """Of what the collection shows, whatever the filters are."""
        shown = equals("collection", attempt.query.collection)
        lengths, holding = await asyncio.gather(
            attempt.chunks.facet("length", where(shown)), self._holding(attempt.chunks, shown, terms)
        )
        return Bm25.of(holding, lengths, index_mean_length)

    async def _holding(self, chunks: Points, shown: Condition, terms: Sequence[int]) -> dict[int, int]:
        """How many chunks hold each term. Many terms are rare ones (``pipeline.slips``): one call counts them all."""
        if len(terms) > _COUNTED_EACH:
            found = await chunks.facet("terms", where(shown, any_of("terms", terms)), limit=_MOST_TERMS)
            return {term: found.get(term, 0) for term in terms}
        counts = await asyncio.gather(*(chunks.count(where(shown, equals("terms", term))) for term in terms))
        return dict(zip(terms, counts, strict=True))


def _sparse_query(bm25: Bm25) -> models.SparseVector:
    idf: dict[int, float] = {}
    for term, value in bm25.idf.items():
        dimension = dimension_of(term)
        idf[dimension] = idf.get(dimension, 0.0) + value
    return models.SparseVector(indices=list(idf), values=list(idf.values()))
