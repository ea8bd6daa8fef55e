"""Making the vectors a group of documents still lacks, so that one bad text costs one document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.failures import Failure
from gristmill.pipeline.prepare import Prepared
from gristmill.ports.documents import Documents, Vector
from gristmill.ports.executor import Broken, Call, Executor, Returned

EmbedTexts = Callable[[tuple[str, ...]], Vector]


@dataclass(frozen=True, slots=True)
class Embedding:
    """How texts become vectors: a module-level function that runs in a pool process, and its limits."""

    identity: EmbeddingIdentity
    embed_texts: EmbedTexts
    slice_texts: int = 64
    time_limit_seconds: float = 600.0
    memory_limit_bytes: int = 2 << 30


class Vectors:
    """Stores each missing vector as soon as it is made, so that a crash pays for no text twice."""

    def __init__(self, documents: Documents, executor: Executor, embedding: Embedding) -> None:
        self._documents = documents
        self._executor = executor
        self._embedding = embedding

    async def make(self, group: Sequence[Prepared]) -> dict[UUID, Failure]:
        """Make and store what is missing; returns the failure of each document that cannot be embedded."""
        texts = {vector: text for prepared in group for vector, text in prepared.texts.items()}
        missing = await self._documents.missing_vectors(list(texts))
        wanted = {vector: texts[vector] for vector in texts if vector in missing}
        failed = await self._store({str(n): part for n, part in enumerate(self._slices(wanted))})
        return await self._each_alone(group) if failed else {}

    def _slices(self, texts: Mapping[UUID, str]) -> Iterator[dict[UUID, str]]:
        # Texts of like length together: a batch costs as much as its longest text.
        ordered = sorted(texts.items(), key=lambda entry: len(entry[1]))
        remaining = iter(ordered)
        while part := dict(islice(remaining, self._embedding.slice_texts)):
            yield part

    async def _store(self, slices: Mapping[str, Mapping[UUID, str]]) -> dict[str, Failure]:
        failed: dict[str, Failure] = {}
        async for result in self._executor.run([self._call(key, part) for key, part in slices.items()]):
            match result:
                case Returned(key, rows):
                    vectors = dict(zip(slices[key], rows, strict=True))
                    await self._documents.put_vectors(self._embedding.identity, vectors)
                case Broken(key, failure):
                    failed[key] = failure
        return failed

    async def _each_alone(self, group: Sequence[Prepared]) -> dict[UUID, Failure]:
        """A slice mixes documents, so after a failure each document is tried by itself."""
        missing = await self._documents.missing_vectors([vector for each in group for vector in each.texts])
        alone = {
            str(number): {vector: text for vector, text in prepared.texts.items() if vector in missing}
            for number, prepared in enumerate(group)
        }
        failures = await self._store({key: part for key, part in alone.items() if part})
        return {group[int(key)].version.document_id: failure for key, failure in failures.items()}

    def _call(self, key: str, texts: Mapping[UUID, str]) -> Call:
        embedding = self._embedding
        return Call(
            key=key,
            function=embedding.embed_texts,
            arguments=(tuple(texts.values()),),
            time_limit_seconds=embedding.time_limit_seconds,
            memory_limit_bytes=embedding.memory_limit_bytes,
        )
