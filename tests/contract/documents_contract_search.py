"""Search: both legs score as defined, over the live chunks of one collection, best first."""

import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.domain.document import DocumentVersion
from gristmill.domain.identity import content_hash
from gristmill.ports.database import Database
from gristmill.ports.errors import CollectionNotFoundError
from tests.contract import documents_contract_steps as steps
from tests.support import builders

WORDS = ["гайка", "болт", "bolt", "nut", "винт", "x1", "м8", "a", "шайб", "3.5", "o'ring", "near", "not", "и"]
TEXT_TOLERANCE, VECTOR_TOLERANCE = 1e-6, 1e-5

CORPUS = [
    builders.version("long", ["bolt nut " * 20 + "x1", "винт " * 7], title="Long"),
    builders.version("short", ["bolt", "nut nut", "bolt nut x1"], metadata={"k": "v"}),
    builders.version("ru", ["гайка и болт", "болт болт болт и", "и и и"]),
    builders.version("none", ["unrelated words"]),
]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
corpora = st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=6)


class SearchContract:
    @pytest.mark.parametrize(
        "words", ["bolt", "nut x1", "болт и гайка", "unrelated", "винт bolt и absent", "absent", "words"]
    )
    async def test_text_scores_are_bm25_over_live_chunks(self, database: Database, words: str):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        legs = await steps.search(database, words)
        steps.check_leg(legs.text, steps.bm25(CORPUS, words), tolerance=TEXT_TOLERANCE)
        assert list(legs.vector) == []

    async def test_staged_replaced_and_deleted_versions_count_for_nothing(self, database: Database):
        await steps.open_papers(database)
        gone, old = builders.version("gone", ["bolt x1", "nut"]), builders.version("ru", ["bolt bolt"])
        await steps.show(database, gone, old)
        await steps.show(database, *CORPUS)
        await database.documents.delete_documents([gone.document_id])
        await steps.stage(database, builders.version("later", ["bolt", "nut bolt"]))
        legs = await steps.search(database, "bolt nut")
        steps.check_leg(legs.text, steps.bm25(CORPUS, "bolt nut"), tolerance=TEXT_TOLERANCE)

    async def test_other_collections_count_for_nothing(self, database: Database):
        await steps.open_papers(database, "papers", "books")
        elsewhere = [
            builders.version(f"{n}", ["bolt nut", "nut " * n], collection="books") for n in range(1, 9)
        ]
        await steps.show(database, *elsewhere[:4])
        await steps.show(database, *CORPUS)
        await steps.show(database, *elsewhere[4:])
        vector = builders.random_unit(11)
        legs = await steps.search(database, "bolt nut", vector=vector)
        steps.check_leg(legs.text, steps.bm25(CORPUS, "bolt nut"), tolerance=TEXT_TOLERANCE)
        steps.check_leg(legs.vector, steps.cosines(CORPUS, vector), tolerance=VECTOR_TOLERANCE)
        legs = await steps.search(database, "bolt nut", vector=vector, collection="books")
        steps.check_leg(legs.text, steps.bm25(elsewhere, "bolt nut"), tolerance=TEXT_TOLERANCE)
        steps.check_leg(legs.vector, steps.cosines(elsewhere, vector), tolerance=VECTOR_TOLERANCE)

    @pytest.mark.parametrize("seed", range(3))
    async def test_vector_scores_are_cosines_over_live_chunks(self, database: Database, seed: int):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        vector = builders.random_unit(seed)
        legs = await steps.search(database, vector=vector)
        expected = steps.cosines(CORPUS, vector)
        steps.check_leg(legs.vector, expected, tolerance=VECTOR_TOLERANCE)
        assert [hit.chunk_id for hit in legs.vector] == [chunk_id for chunk_id, _ in expected]
        assert min(hit.score for hit in legs.vector) < 0
        assert list(legs.text) == []

    async def test_nearest_vector_comes_first_with_a_cosine_of_one(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        for version in CORPUS:
            for chunk_id, vector in _own_vectors(version):
                (hit,) = (await steps.search(database, vector=vector, limit=1)).vector
                assert hit.chunk_id == chunk_id
                assert hit.score == pytest.approx(1.0, abs=VECTOR_TOLERANCE)

    async def test_hits_carry_the_whole_chunk(self, database: Database):
        await steps.open_papers(database)
        version = builders.version(
            "file:///ё", ["Первый кусок", "Второй bolt"], title="Титул", metadata={"k": [1, "два"], "b": True}
        )
        await steps.show(database, version, *CORPUS[2:])
        legs = await steps.search(database, "кусок", vector=_own_vectors(version)[1][1], limit=1)
        (text,), (vector,) = legs.text, legs.vector
        assert text == steps.expected_hit(version, version.chunks[0], text.score)
        assert vector == steps.expected_hit(version, version.chunks[1], vector.score)

    @pytest.mark.parametrize("limit", [1, 2, 5])
    async def test_limit_keeps_the_best_of_each_leg(self, database: Database, limit: int):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        vector = builders.random_unit(4)
        legs = await steps.search(database, "bolt nut", vector=vector, limit=limit)
        steps.check_leg(legs.text, steps.bm25(CORPUS, "bolt nut"), limit=limit, tolerance=TEXT_TOLERANCE)
        steps.check_leg(legs.vector, steps.cosines(CORPUS, vector), limit=limit, tolerance=VECTOR_TOLERANCE)

    async def test_ties_come_by_chunk_id_also_at_the_limit(self, database: Database):
        await steps.open_papers(database)
        versions = [builders.version(f"s{n}", ["same words", "same words"]) for n in range(15)]
        random.Random(7).shuffle(versions)
        await steps.show(database, *versions)
        expected = sorted(chunk.chunk_id for version in versions for chunk in version.chunks)
        for limit in [1, 7, 30, 99]:
            legs = await steps.search(
                database, "same", vector=builders.text_vector("same words"), limit=limit
            )
            assert [hit.chunk_id for hit in legs.text] == expected[:limit]
            assert [hit.chunk_id for hit in legs.vector] == expected[:limit]

    async def test_tokens_are_matched_whole_and_as_they_are(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, *(builders.version(word, [word]) for word in WORDS))
        odd = ["Bolt", "bol", "bolts", "гайк", "ГАЙКА", "*", "bolt*", '"bolt"', "bolt nut", "AND", "ё"]
        for word in odd:
            assert list((await steps.search(database, tokens=[word])).text) == []
        for word in WORDS:
            assert [hit.source for hit in (await steps.search(database, tokens=[word])).text] == [word]

    async def test_tokens_are_what_is_indexed_not_the_text(self, database: Database):
        await steps.open_papers(database)
        version = builders.version("a", ["Visible Words"])
        version = replace(version, chunks=(replace(version.chunks[0], tokens=("stem", "stem", "head")),))
        await steps.show(database, version)
        assert await steps.found(database, "visible words") == set()
        assert await steps.found(database, "head") == {"Visible Words"}

    async def test_a_thousand_tokens_find_what_holds_any_of_them(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        words = " ".join([*(f"absent{number}" for number in range(1_000)), "x1", "болт", "unrelated"])
        legs = await steps.search(database, words)
        steps.check_leg(legs.text, steps.bm25(CORPUS, words), tolerance=TEXT_TOLERANCE)

    async def test_no_tokens_find_nothing(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        legs = await steps.search(database, tokens=[])
        assert (list(legs.text), list(legs.vector)) == ([], [])

    async def test_leg_that_is_not_asked_stays_empty(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, *CORPUS)
        neither = await steps.search(database)
        assert (list(neither.text), list(neither.vector)) == ([], [])

    async def test_empty_collection_answers_with_nothing(self, database: Database):
        await steps.open_papers(database)
        legs = await steps.search(database, "bolt", vector=builders.random_unit(1))
        assert (list(legs.text), list(legs.vector)) == ([], [])

    async def test_search_in_an_unknown_collection_is_refused(self, database: Database):
        await steps.open_papers(database)
        with pytest.raises(CollectionNotFoundError) as refused:
            await steps.search(database, "bolt", collection="nowhere")
        assert refused.value.name == "nowhere"

    async def test_search_sees_each_change_at_once(self, database: Database):
        await steps.open_papers(database)
        shown: list[DocumentVersion] = []
        for number in range(12):
            version = builders.version(f"s{number % 5}", [f"word {number}", f"word again {number}"])
            shown = [each for each in shown if each.document_id != version.document_id] + [version]
            await steps.show(database, version)
            if number % 4 == 3:
                gone = shown.pop(0)
                await database.documents.delete_documents([gone.document_id])
            expected = {chunk.text for each in shown for chunk in each.chunks}
            assert await steps.near(database) == expected
            assert await steps.found(database, "word") == expected
            if number % 3 == 0:
                await database.tidy()

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(corpus=corpora, words=texts, limit=st.integers(1, 9), seed=st.integers(0, 99))
    async def test_search_is_as_by_brute_force(
        self, database: Database, corpus: list[list[str]], words: str, limit: int, seed: int
    ):
        name = content_hash(repr((corpus, words, limit, seed)).encode())
        await steps.open_papers(database, name)
        versions = [builders.version(f"{n}", each, collection=name) for n, each in enumerate(corpus)]
        await steps.show(database, *versions)
        query = " ".join(dict.fromkeys(words.split()))
        vector = builders.random_unit(seed)
        legs = await steps.search(database, query, vector=vector, collection=name, limit=limit)
        steps.check_leg(legs.text, steps.bm25(versions, query), limit=limit, tolerance=TEXT_TOLERANCE)
        steps.check_leg(legs.vector, steps.cosines(versions, vector), limit=limit, tolerance=VECTOR_TOLERANCE)


def _own_vectors(version: DocumentVersion) -> list[tuple[UUID, builders.Vector]]:
    """Each chunk's id with the vector of its text."""
    vectors = builders.vectors_of(version)
    return [(chunk.chunk_id, vectors[chunk.vector_id]) for chunk in version.chunks]
