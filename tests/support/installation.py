"""An installation with something of everything, of any size: to be moved between databases and found the same."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from gristmill.domain.document import DocumentVersion, EmbeddingIdentity
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Outcome, Record, Report, Result, Retry
from gristmill.ports.database import Database
from gristmill.ports.documents import Vector
from tests.support import builders

WORDS_A_CHUNK = 60
_VOCABULARY = [f"{stem}{number}" for number in range(4_000) for stem in ("word", "слово", "naïve", "日本")]
# As in texts of people, a few words make half of each.
_OFTEN = list(accumulate(1 / (place + 10) for place in range(len(_VOCABULARY))))
# What a driver, a JSON number or an escape could change on the way.
_ODD_TEXTS = ("nul \x00 and \x1f", "😀 \u2028 \ufeff", "\\u0041 %s {0} '\";--", " \t\r\n ")
_TINY, _HUGE = np.finfo(np.float32).smallest_subnormal, np.float32(1e18)
_ODD_NUMBERS = np.array([0.0, -0.0, _TINY, -_TINY, 1 / 3, -_HUGE, _HUGE, np.float32(16_777_217)], np.float32)


@dataclass(frozen=True, slots=True)
class Size:
    """``long``: the chunks of the longest document, more than databases send at once."""

    chunks: int
    dimensions: int
    long: int

    @property
    def unit(self) -> EmbeddingIdentity:
        return EmbeddingIdentity("test", "unit", self.dimensions)

    @property
    def raw(self) -> EmbeddingIdentity:
        """Of vectors as long as they come."""
        return EmbeddingIdentity("test", "raw", self.dimensions // 2, normalised=False)

    @property
    def collections(self) -> dict[str, EmbeddingIdentity]:
        return {"copies": self.unit, "empty": self.raw, "papers": self.unit, "raw": self.raw}


class Installation:
    """Fills a database through its ports, the same each time but for the moments and the ids of writes."""

    def __init__(self, database: Database, clock: Any, size: Size, seed: int = 1) -> None:
        self._database = database
        self._clock = clock
        self._size = size
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)

    async def fill(self) -> None:
        size = self._size
        for name, embedding in size.collections.items():
            await self._database.documents.open_collection(name, embedding)
        papers = list(self._documents("papers", size.chunks * 3 // 4, long=size.long))
        raw = list(self._documents("raw", size.chunks // 4))
        await self._show(papers, size.unit)
        await self._show(raw, size.raw)
        await self._change(papers)
        await self._work()

    # -- documents -----------------------------------------------------------------------------------

    def _documents(self, collection: str, chunks: int, *, long: int = 0) -> Iterator[DocumentVersion]:
        lengths = [long] if long else []
        while sum(lengths) < chunks:
            lengths.append(self._random.randint(1, 40))
        for number, length in enumerate(lengths):
            title = None if number % 7 == 0 else f"Paper {number} «{self._words(2)}»"
            yield builders.version(
                f"file:///{collection}/{number:05}.txt",
                [self._words(WORDS_A_CHUNK) for _ in range(length)],
                collection=collection,
                title=title,
                metadata={
                    "number": number,
                    "third": number % 3,
                    "names": ["a", f"n{number % 5}"],
                    "deep": {"x": [None, 1.5]},
                },
            )

    def _words(self, count: int) -> str:
        words = self._random.choices(_VOCABULARY, cum_weights=_OFTEN, k=count)
        if self._random.random() < 0.01:
            words.append(self._random.choice(_ODD_TEXTS))
        return " ".join(words)

    async def _show(self, versions: Sequence[DocumentVersion], embedding: EmbeddingIdentity) -> None:
        for some in _of_chunks(versions, 2_000):
            wanted = await self._database.documents.stage_versions(some)
            await self._put_vectors(some, embedding)
            await self._database.documents.publish(
                {each.document_id: ours for each, ours in zip(some, wanted, strict=True)}
            )

    async def _put_vectors(self, versions: Sequence[DocumentVersion], embedding: EmbeddingIdentity) -> None:
        ids = [chunk.vector_id for each in versions for chunk in each.chunks]
        await self._database.documents.put_vectors(
            embedding, dict(zip(ids, self._vectors(len(ids), embedding), strict=True))
        )

    def _vectors(self, count: int, embedding: EmbeddingIdentity) -> Vector:
        rows = self._numbers.normal(size=(count, embedding.dimensions))
        if embedding.normalised:
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        lengths = 10.0 ** self._numbers.integers(-6, 7, size=(count, 1))
        vectors: Vector = (rows * lengths).astype(np.float32)
        vectors[::11, : len(_ODD_NUMBERS)] = _ODD_NUMBERS
        vectors[5::97] = 0
        return vectors

    async def _change(self, papers: Sequence[DocumentVersion]) -> None:
        """Versions that replaced others, wait for vectors or are only staged; deleted, edited and copied documents."""
        documents = self._database.documents
        newer = [self._again(each, f"{each.source} again") for each in papers[1::9]]
        await self._show(newer, self._size.unit)
        await self._show(papers[1::27], self._size.unit)
        waiting = [self._again(each, "waits") for each in papers[2::29]]
        await documents.stage_versions(waiting)
        staged = [builders.version(f"new:{number}", ["never shown"]) for number in range(5)]
        await documents.stage_versions(staged)
        await self._put_vectors(staged, self._size.unit)
        await documents.update_metadata({each.document_id: {"edited": True} for each in papers[3::31]})
        await documents.delete_documents([each.document_id for each in papers[4::13]])
        copies = [
            builders.version(
                each.source, [chunk.text for chunk in each.chunks], collection="copies", title=each.title
            )
            for each in papers[5::41]
        ]
        await self._show(copies, self._size.unit)

    def _again(self, version: DocumentVersion, text: str) -> DocumentVersion:
        texts = [*(chunk.text for chunk in version.chunks[:-1]), text]
        return builders.version(version.source, texts, title=version.title, metadata={"again": True})

    # -- work ----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Batches that ended well, with failures and not at all; records in every state."""
        for number in range(4):
            await self._batch(f"batch {number}", self._size.chunks // 40, seal=number != 3)
        cancelled = await self._batch("cancelled", 20, seal=True, work=False)
        await self._database.batches.cancel_batch(cancelled, error_message="Not wanted any more.")
        await self._batch("never begun", 20, seal=True, work=False)
        await self._database.batches.end_batches()
        listed = (await self._database.batches.list_batches(limit=100)).batches
        (retried,) = [batch for batch in listed if batch.name == "batch 1"]
        await self._database.batches.retry_failed(retried.batch_id, permanent=True)

    async def _batch(self, name: str, items: int, *, seal: bool, work: bool = True) -> Any:
        batches = self._database.batches
        batch = await batches.create_batch(
            builders.new_batch(name=name, collection="papers", options={"n": items})
        )
        given = [
            replace(each, source=f"file:///{name}/{each.item_id}", payload={"size": n, "tags": ["x", None]})
            for n, each in enumerate(builders.numbered(items))
        ]
        await batches.create_processing_records(batch.batch_id, given)
        if seal:
            await batches.seal_batch(batch.batch_id)
        while work and (records := await batches.claim_records("w1", limit=500, batch_id=batch.batch_id)):
            for start in range(0, len(records), 10):
                self._clock.advance(milliseconds=1)
                group = [self._report(each) for each in records[start : start + 10]]
                await batches.update_processing_status(group)
        if not work:
            await batches.renew_lease(builders.worker("w1", self._clock.now()))
        return batch.batch_id

    def _report(self, record: Record) -> Report:
        number = int(record.item_id.rpartition("-")[2])
        outcome: Outcome = Done(
            Result(chunks=number, reused=number % 5 == 0, warnings=("slow", "сомнительно"))
        )
        if number % 10 == 1:
            outcome = Failed(Failure(FailureCategory.UNREADABLE, f"The file is damaged at byte {number}."))
        elif number % 10 == 2:
            outcome = Retry(Failure(FailureCategory.TIMEOUT, "It took too long."))
        return Report(record, outcome)


def _of_chunks(versions: Sequence[DocumentVersion], most: int) -> Iterator[list[DocumentVersion]]:
    some: list[DocumentVersion] = []
    for each in versions:
        some.append(each)
        if sum(len(version.chunks) for version in some) >= most:
            yield some
            some = []
    if some:
        yield some
