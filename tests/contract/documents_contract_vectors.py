"""Vectors: stored once, the first one stays, and shared by every chunk of the same text."""

from uuid import uuid4

import numpy as np
import pytest

from gristmill.domain.document import EmbeddingIdentity
from gristmill.ports.database import Database
from gristmill.ports.documents import Published
from tests.contract import documents_contract_steps as steps
from tests.support import builders

EMBEDDING = builders.EMBEDDING


class VectorsContract:
    async def test_missing_vectors_are_those_not_stored(self, database: Database):
        there, missing, asked_twice = uuid4(), uuid4(), uuid4()
        await database.documents.put_vectors(EMBEDDING, {there: builders.random_unit(1)})
        found = await database.documents.missing_vectors([there, missing, asked_twice, asked_twice])
        assert found == {missing, asked_twice}
        assert await database.documents.missing_vectors([]) == set()

    async def test_many_vectors_in_one_call(self, database: Database):
        ids = [uuid4() for _ in range(1500)]
        vectors = {each: builders.random_unit(n) for n, each in enumerate(ids[:1200])}
        self.check_new(await database.documents.put_vectors(EMBEDDING, vectors), of=1200)
        assert await database.documents.missing_vectors(ids) == set(ids[1200:])

    def check_new(self, new: int, *, of: int) -> None:
        assert new == of

    async def test_put_counts_new_vectors_only(self, database: Database):
        first, second = uuid4(), uuid4()
        assert await database.documents.put_vectors(EMBEDDING, {}) == 0
        assert await database.documents.put_vectors(EMBEDDING, {first: builders.random_unit(1)}) == 1
        both = {first: builders.random_unit(1), second: builders.random_unit(2)}
        assert await database.documents.put_vectors(EMBEDDING, both) == 1
        assert await database.documents.put_vectors(EMBEDDING, both) == 0

    async def test_vectors_of_1536_dimensions_are_ranked_by_their_cosines(self, database: Database):
        large = EmbeddingIdentity("test", "large", dimensions=1_536)
        await database.documents.open_collection("large", large)
        versions = [
            builders.version(
                f"file:///{name}",
                [f"{name} {number}" for number in range(10)],
                collection="large",
                embedding=large,
            )
            for name in "abc"
        ]
        vectors = builders.vectors_of(*versions, embedding=large)
        wanted = await database.documents.stage_versions(versions)
        assert await database.documents.put_vectors(large, vectors) == 30
        ids = [version.document_id for version in versions]
        await database.documents.publish(dict(zip(ids, wanted, strict=True)))
        query = builders.random_unit(1, dimensions=1_536)
        expected = {
            chunk.chunk_id: float(np.dot(vectors[chunk.vector_id], query))
            for version in versions
            for chunk in version.chunks
        }
        best = sorted(expected, key=lambda chunk: -expected[chunk])[:10]
        hits = (await steps.search(database, vector=query, collection="large", limit=10)).vector
        assert [hit.chunk_id for hit in hits] == best
        assert [hit.score for hit in hits] == pytest.approx([expected[each] for each in best], abs=1e-4)

    async def test_vectors_of_any_length_are_ranked_by_their_cosines(self, database: Database):
        raw = EmbeddingIdentity("test", "raw", dimensions=8, normalised=False)
        await database.documents.open_collection("raw", raw)
        lengths = (1e-30, 1e-6, 0.3, 1.0, 7.0, 1e6, 1e20, 0.0)
        version = builders.version("file:///a", [f"{n}" for n in range(40)], collection="raw", embedding=raw)
        ids = [chunk.vector_id for chunk in version.chunks]
        units = {each: builders.random_unit(n) for n, each in enumerate(ids)}
        vectors = {
            each: (units[each] * np.float64(lengths[n % len(lengths)])).astype(np.float32)
            for n, each in enumerate(ids)
        }
        (wanted,) = await database.documents.stage_versions([version])
        assert await database.documents.put_vectors(raw, vectors) == 40
        await database.documents.publish({version.document_id: wanted})
        query = builders.random_unit(1)
        cosines = [
            (
                chunk.chunk_id,
                float(np.dot(units[chunk.vector_id], query)) if lengths[n % len(lengths)] else 0.0,
            )
            for n, chunk in enumerate(version.chunks)
        ]
        legs = await steps.search(database, vector=query, collection="raw")
        steps.check_leg(legs.vector, steps.best_first(cosines), tolerance=1e-5)

    async def test_first_vector_of_an_id_stays(self, database: Database):
        await steps.open_papers(database)
        version = builders.version("file:///a", ["alpha"])
        await steps.show(database, version)
        (vector_id, vector) = builders.vectors_of(version).popitem()
        assert await database.documents.put_vectors(EMBEDDING, {vector_id: -vector}) == 0
        (hit,) = (await steps.search(database, vector=vector)).vector
        assert hit.score == pytest.approx(1.0, abs=1e-5)

    @pytest.mark.parametrize("dimensions", [7, 9, 1])
    async def test_wrong_dimensions_are_refused_and_nothing_is_stored(
        self, database: Database, dimensions: int
    ):
        good, bad = uuid4(), uuid4()
        wrong = np.ones(dimensions, dtype=np.float32)
        with pytest.raises(ValueError, match="dimensions"):
            await database.documents.put_vectors(EMBEDDING, {good: builders.random_unit(1), bad: wrong})
        assert await database.documents.missing_vectors([good, bad]) == {good, bad}

    async def test_same_text_in_two_documents_shares_one_vector_and_both_are_found(self, database: Database):
        await steps.open_papers(database)
        one = builders.version("file:///1", ["shared words", "only one"])
        two = builders.version("file:///2", ["shared words"])
        assert one.chunks[0].vector_id == two.chunks[0].vector_id
        await steps.show(database, one)
        (wanted,) = await database.documents.stage_versions([two])
        assert await database.documents.missing_vectors([two.chunks[0].vector_id]) == set()
        assert await database.documents.publish({two.document_id: wanted}) == {
            two.document_id: Published.LIVE
        }
        vector = builders.text_vector("shared words")
        legs = await steps.search(database, "shared", vector=vector, limit=2)
        for leg in [legs.text, legs.vector]:
            assert [hit.chunk_id for hit in leg] == sorted([one.chunks[0].chunk_id, two.chunks[0].chunk_id])
            assert leg[0].score == leg[1].score
        await database.documents.delete_documents([one.document_id])
        await database.tidy()
        legs = await steps.search(database, "shared", vector=vector)
        for leg in [legs.text, legs.vector]:
            assert [hit.chunk_id for hit in leg] == [two.chunks[0].chunk_id]

    async def test_same_text_twice_in_a_document_is_two_hits(self, database: Database):
        await steps.open_papers(database)
        version = builders.version("file:///1", ["again", "again", "again"])
        await steps.show(database, version)
        legs = await steps.search(database, "again", vector=builders.text_vector("again"))
        expected = sorted(chunk.chunk_id for chunk in version.chunks)
        assert [hit.chunk_id for hit in legs.text] == expected
        assert [hit.chunk_id for hit in legs.vector] == expected
