"""Making the vectors a group of documents still lacks, so that one bad text costs one document."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Outcome, Snooze, outcome_of
from gristmill.pipeline.prepare import EmbedTexts, Prepared
from gristmill.ports.documents import Documents, Vector
from gristmill.ports.executor import Broken, Call, Executor, Returned

_PROBE = "Is anybody there?"

# Vectors that came with their documents are stored so many at a time.
_STORED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Embedding:
    """How texts become vectors: a module-level function that runs in a pool process, and its limits.

    ``where_prepared``: embedding costs so little that a document's texts are embedded where it was prepared, also
    those whose vectors are stored; sending them to whoever is free would cost as much.
    """

    identity: EmbeddingIdentity
    embed_texts: EmbedTexts
    where_prepared: bool = False
    slice_texts: int = 64
    time_limit_seconds: float = 600.0
    memory_limit_bytes: int = 2 << 30


class Vectors:
    """Stores each missing vector as soon as it is made, so that a crash pays for no text twice."""

    def __init__(
        self, documents: Documents, executor: Executor, embedding: Embedding, *, snooze_seconds: float
    ) -> None:
        self._documents = documents
        self._executor = executor
        self._embedding = embedding
        self._snooze_seconds = snooze_seconds

    async def make(self, group: Sequence[Prepared]) -> dict[UUID, Outcome]:
        """Make and store what is missing; returns the outcome of each document that cannot be embedded."""
        group = await self._store_given(group)
        if not group:
            return {}
        texts = {vector: text for prepared in group for vector, text in prepared.texts.items()}
        missing = await self._documents.missing_vectors(list(texts))
        wanted = {vector: texts[vector] for vector in texts if vector in missing}
        if not await self._store({str(n): part for n, part in enumerate(self._slices(wanted))}):
            return {}
        if (cause := await self._common_cause()) is not None:
            return await self._snoozed(group, cause)
        return await self._each_alone(group)

    async def _store_given(self, group: Sequence[Prepared]) -> list[Prepared]:
        """Store the vectors that came with their documents; returns the documents that came without."""
        given: list[tuple[UUID, Vector]] = []
        without: list[Prepared] = []
        for prepared in group:
            ids, rows = prepared.vector_ids, prepared.vectors
            if rows is None or self._problem(rows, len(ids)) is not None:
                without.append(prepared)
            else:
                given += zip(ids, rows, strict=True)
        for start in range(0, len(given), _STORED_AT_ONCE):
            part = dict(given[start : start + _STORED_AT_ONCE])
            await self._documents.put_vectors(self._embedding.identity, part)
        return without

    async def _common_cause(self) -> Failure | None:
        """Why the embedder embeds nothing at all: then no text is to blame. A failed slice alone does not say so."""
        failed = await self._run({_PROBE: (_PROBE,)})
        if _PROBE not in failed:
            return None
        return Failure(FailureCategory.PROVIDER_TRANSIENT, f"The embedder fails: {failed[_PROBE].message}")

    async def _snoozed(self, group: Sequence[Prepared], cause: Failure) -> dict[UUID, Outcome]:
        missing = await self._missing(group)
        return {each.version.document_id: Snooze(self._snooze_seconds, cause) for each in missing}

    async def _missing(self, group: Sequence[Prepared]) -> list[Prepared]:
        missing = await self._documents.missing_vectors([one for each in group for one in each.vector_ids])
        return [each for each in group if not missing.isdisjoint(each.vector_ids)]

    async def _each_alone(self, group: Sequence[Prepared]) -> dict[UUID, Outcome]:
        """A slice mixes documents, so after a failure each document is tried by itself."""
        missing = await self._missing(group)
        alone = {str(number): prepared.texts for number, prepared in enumerate(missing)}
        failed = await self._store(alone)
        return {missing[int(key)].version.document_id: outcome_of(failure) for key, failure in failed.items()}

    def _slices(self, texts: Mapping[UUID, str]) -> Iterator[dict[UUID, str]]:
        # Texts of like length together: a batch costs as much as its longest text.
        ordered = sorted(texts.items(), key=lambda entry: len(entry[1]))
        remaining = iter(ordered)
        while part := dict(islice(remaining, self._embedding.slice_texts)):
            yield part

    async def _store(self, slices: Mapping[str, Mapping[UUID, str]]) -> dict[str, Failure]:
        """Embed each slice and store its vectors; returns the failures."""

        async def put(key: str, rows: Vector) -> None:
            vectors = dict(zip(slices[key], rows, strict=True))
            await self._documents.put_vectors(self._embedding.identity, vectors)

        texts = {key: tuple(part.values()) for key, part in slices.items()}
        return await self._run(texts, put)

    async def _run(
        self,
        slices: Mapping[str, tuple[str, ...]],
        put: Callable[[str, Vector], Awaitable[None]] | None = None,
    ) -> dict[str, Failure]:
        """Embed, check what comes, and hand it to ``put``; returns the failures."""
        failed: dict[str, Failure] = {}
        async for result in self._executor.run([self._call(key, part) for key, part in slices.items()]):
            match result:
                case Broken(key, failure):
                    failed[key] = failure
                case Returned(key, rows) if (problem := self._problem(rows, len(slices[key]))) is not None:
                    failed[key] = Failure(FailureCategory.PROVIDER_CONTRACT, problem)
                case Returned(key, rows) if put is not None:
                    await put(key, rows)
        return failed

    def _problem(self, rows: Any, count: int) -> str | None:
        """What is wrong with what the embedder gave for ``count`` texts."""
        identity = self._embedding.identity
        found = np.asarray(rows)
        if found.shape != (count, identity.dimensions):
            return (
                f"{identity.model} gave vectors of shape {found.shape}, not {(count, identity.dimensions)}."
            )
        if not np.isfinite(found).all():
            return f"{identity.model} gave a vector that is not finite."
        return None

    def _call(self, key: str, texts: tuple[str, ...]) -> Call:
        embedding = self._embedding
        return Call(
            key=key,
            function=embedding.embed_texts,
            arguments=(texts,),
            time_limit_seconds=embedding.time_limit_seconds,
            memory_limit_bytes=embedding.memory_limit_bytes,
        )
