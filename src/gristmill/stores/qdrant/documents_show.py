"""Making a version live, by a publish, an edit or a merge: the document's point is the switch.

Its order: the staged chunks get their vectors, their filters and the name of their collection (found now, and
dropped by search, for their staging is not the live one); the document's point names that staging; what nobody needs
any more goes. Of chunks that are shown already only the filters change: to those of the old and the new metadata
before the switch, to the new ones after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import models

from gristmill.domain.document_facts import DocumentFacts
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.document_points import Stored
from gristmill.stores.qdrant.documents_forget import DocumentsForget
from gristmill.stores.qdrant.marks import Marks
from gristmill.stores.qdrant.points import Payload, Points, any_of, equals, groups, point, where
from gristmill.stores.qdrant.ranking import weight
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.version_points import StoredVersion, chunk_point_id, dimension_of, filters_of

_DOCUMENTS_A_SLICE = 64


@dataclass(frozen=True, slots=True)
class Change:
    """A document as it was read, and what it is to be."""

    before: Stored
    facts: DocumentFacts
    marks: Marks

    @property
    def document_id(self) -> UUID:
        return self.facts.document_id

    @property
    def metadata(self) -> Mapping[str, object]:
        assert self.facts.live is not None
        return self.facts.live.metadata

    @property
    def is_shown_already(self) -> bool:
        before, after = self.before.live, self.facts.live
        return after is None or (before is not None and before.version == after.version)

    @property
    def is_edited(self) -> bool:
        """Whether chunks that are shown already are to be found by other metadata."""
        before, after = self.before.live, self.facts.live
        if before is None or after is None or before.version != after.version:
            return False
        return filters_of(before.metadata) != filters_of(after.metadata)

    @property
    def is_switched(self) -> bool:
        """Whether versions that were needed may be so no more."""
        before, after = self.before.facts, self.facts
        ordinals = [each.live.ordinal if each.live else 0 for each in (before, after)]
        return before.deleted != after.deleted or ordinals[0] != ordinals[1]

    def stored(self, staging: str | None, now: int) -> Stored:
        switched_at = self.before.switched_at if self.facts.live == self.before.live else now
        return replace(
            self.before,
            facts=self.facts,
            staging=None if self.facts.live is None else staging,
            switched_at=switched_at,
            marks=self.marks,
        )


@dataclass(slots=True)
class Shown:
    """``incomplete``: what is to be live is not here with all its vectors. In neither: it was changed meanwhile."""

    stored: set[UUID] = field(default_factory=set)
    incomplete: set[UUID] = field(default_factory=set)


class DocumentsShow(DocumentsForget):
    async def _show(self, changes: Iterable[Change]) -> Shown:
        shown = Shown()
        by_collection: dict[str, list[Change]] = {}
        for each in changes:
            by_collection.setdefault(each.facts.collection, []).append(each)
        for name, collection in (await self._collections(by_collection)).items():
            for some in groups(by_collection[name], _DOCUMENTS_A_SLICE):
                await self._show_some(collection, some, shown)
        return shown

    async def _show_some(self, collection: Payload, changes: Sequence[Change], shown: Shown) -> None:
        chunks = await self._chunks(collection)
        fresh = [each for each in changes if not each.is_shown_already]
        stagings = await self._put_shown(collection, chunks, fresh)
        shown.incomplete |= {each.document_id for each in fresh} - stagings.keys()
        ready = [each for each in changes if each.document_id not in shown.incomplete]
        edited = [each for each in ready if each.is_edited]
        for each in edited:
            assert each.before.live is not None
            both = {*filters_of(each.before.live.metadata), *filters_of(each.metadata)}
            await self._set_filters(chunks, each.before, sorted(both))
        now = instant(self._clock.now())
        new = {
            each.document_id: each.stored(stagings.get(each.document_id, each.before.staging), now)
            for each in ready
        }
        won = await self._swap(new)
        for each in edited:
            if each.document_id in won:
                await self._set_filters(chunks, each.before, filters_of(each.metadata))
        if switched := [each for each in ready if each.is_switched and each.document_id in won]:
            await self._forget_versions([new[each.document_id] for each in switched])
        await self._give_up(chunks, {key: found for key, found in stagings.items() if key not in won})
        shown.stored |= won

    async def _put_shown(
        self, collection: Payload, chunks: Points, changes: Sequence[Change]
    ) -> dict[UUID, str]:
        """Write the chunks of these as they are found; returns the stagings of those that are complete."""
        live = {each.document_id: each.facts.live for each in changes}
        versions = {
            key[0]: version
            for key, version in (
                await self._versions_of((key, each.version) for key, each in live.items() if each)
            ).items()
        }
        found = await self._staged_chunks(chunks, versions)
        vectors = await self._vectors_for(collection, found)
        ready = {
            key: version
            for key, version in versions.items()
            if len(found[key]) == version.chunks
            and all(chunk["vector_id"] in vectors for chunk in found[key])
        }
        lengths = [chunk["length"] for key in ready for chunk in found[key]]
        if lengths:
            collection = await self._with(collection, mean_length=max(1.0, sum(lengths) / len(lengths)))
        filters = {each.document_id: filters_of(each.metadata) for each in changes}
        await chunks.put(
            [
                _shown_chunk(chunk, collection, filters[key], vectors[chunk["vector_id"]])
                for key in ready
                for chunk in found[key]
            ]
        )
        return {key: version.staging for key, version in ready.items()}

    async def _staged_chunks(
        self, chunks: Points, versions: Mapping[UUID, StoredVersion]
    ) -> dict[UUID, list[Payload]]:
        found: dict[UUID, list[Payload]] = {each: [] for each in versions}
        if versions:
            stagings = any_of("staging", [each.staging for each in versions.values()])
            for chunk in await chunks.by_id(where(stagings)):
                found[UUID(chunk["document_id"])].append(chunk)
        return found

    async def _vectors_for(
        self, collection: Payload, chunks: Mapping[UUID, Sequence[Payload]]
    ) -> dict[str, list[float]]:
        wanted = dict.fromkeys(chunk["vector_id"] for each in chunks.values() for chunk in each)
        points = await self._vectors(collection)
        found: dict[str, list[float]] = {}
        for some in groups(map(UUID, wanted), 500):
            for record in await points.records(some, fields=False, vectors=True):
                vector: Any = record.vector
                found[str(record.id)] = vector[schema.DENSE]
        return found

    async def _set_filters(self, chunks: Points, stored: Stored, filters: list[str]) -> None:
        assert stored.staging is not None
        chosen = where(equals("document_id", str(stored.document_id)), equals("staging", stored.staging))
        await chunks.set_payload({"filters": filters}, chosen)

    async def _give_up(self, chunks: Points, stagings: Mapping[UUID, str]) -> None:
        """Of documents that were changed meanwhile, delete the chunks whose version was dropped before they were written."""
        if stagings:
            now = {each.staging for each in await self._all_versions_of(list(stagings))}
            await self._delete_stagings(chunks, set(stagings.values()) - now)


def _shown_chunk(
    chunk: Payload, collection: Payload, filters: list[str], vector: list[float]
) -> models.PointStruct:
    shown = chunk | {"collection": collection["name"], "filters": filters}
    vectors: dict[str, Any] = {schema.DENSE: vector if collection["normalised"] else _unit(vector)}
    if chunk["terms"]:
        vectors[schema.TEXT] = _sparse(chunk, collection["mean_length"])
    return point(chunk_point_id(chunk), shown, vectors)


def _unit(vector: list[float]) -> list[float]:
    values = np.array(vector, dtype=np.float64)
    length = np.linalg.norm(values)
    unit: list[float] = (values / length if length else values).astype(np.float32).tolist()
    return unit


def _sparse(chunk: Payload, mean_length: float) -> models.SparseVector:
    counts: dict[int, int] = {}
    for term, count in zip(chunk["terms"], chunk["counts"], strict=True):
        dimension = dimension_of(term)
        counts[dimension] = counts.get(dimension, 0) + count
    values = [weight(count, chunk["length"], mean_length) for count in counts.values()]
    return models.SparseVector(indices=list(counts), values=values)
