"""Filters: every key must match, one value of each is enough, and they choose before the limit does."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

import pytest

from gristmill.ports.database import Database
from tests.contract import documents_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

METADATA: dict[str, dict[str, object]] = {
    "plain": {"author": "Anna", "lang": "en", "year": 2023},
    "listed": {"author": ["Boris", "Anna"], "lang": "ru", "year": 2024, "tags": ["a", 7, True]},
    "typed": {"author": "Анна", "draft": True, "ratio": 1.5, "year": "2024", "nested": {"author": "Anna"}},
    "odd": {"author": "anna", "draft": "True", "key'with\"quotes": "50%_", "none": None, "empty": ""},
    "bare": {},
}

CASES: list[tuple[Mapping[str, Sequence[str]], set[str]]] = [
    ({}, {"plain", "listed", "typed", "odd", "bare"}),
    ({"author": ["Anna"]}, {"plain", "listed"}),
    ({"author": ["Boris"]}, {"listed"}),
    ({"author": ["Anna", "Анна"]}, {"plain", "listed", "typed"}),
    ({"author": ["Anna"], "lang": ["ru"]}, {"listed"}),
    ({"author": ["Anna", "anna"], "lang": ["en", "ru"]}, {"plain", "listed"}),
    ({"author": ["Anna"], "lang": ["de"]}, set()),
    ({"author": ["Ann"]}, set()),
    ({"author": ["%"]}, set()),
    ({"Author": ["Anna"]}, set()),
    ({"nested": ["Anna"]}, set()),
    ({"unknown": ["Anna"]}, set()),
    ({"lang": ["Anna"]}, set()),
    ({"author": []}, set()),
    ({"year": ["2024"]}, {"listed", "typed"}),
    ({"year": ["2023", "2024"]}, {"plain", "listed", "typed"}),
    ({"tags": ["7"]}, {"listed"}),
    ({"tags": ["true"]}, {"listed"}),
    ({"tags": ["a", "7"]}, {"listed"}),
    ({"draft": ["true"]}, {"typed"}),
    ({"draft": ["True"]}, {"odd"}),
    ({"draft": ["1"]}, set()),
    ({"ratio": ["1.5"]}, {"typed"}),
    ({"key'with\"quotes": ["50%_"]}, {"odd"}),
    ({"none": ["None"]}, set()),
    ({"none": ["null"]}, set()),
    ({"empty": [""]}, {"odd"}),
]


class FiltersContract:
    @pytest.mark.parametrize(("filters", "expected"), CASES)
    async def test_filters_choose_documents_by_their_metadata(
        self, database: Database, filters: Mapping[str, Sequence[str]], expected: set[str]
    ):
        await steps.open_papers(database)
        await steps.show(
            database,
            *(builders.version(name, [f"word {name}"], metadata=each) for name, each in METADATA.items()),
        )
        legs = await steps.search(database, "word", vector=builders.random_unit(5), filters=filters)
        assert {hit.source for hit in legs.text} == expected
        assert {hit.source for hit in legs.vector} == expected

    async def test_limit_counts_what_the_filter_lets_through(self, database: Database):
        await steps.open_papers(database)
        others = [
            builders.version(f"other-{n:03}", ["word word word"], metadata={"lang": "en"}) for n in range(120)
        ]
        ours = [
            builders.version(f"ours-{n}", [f"word among many less telling ones {n}"], metadata={"lang": "ru"})
            for n in range(3)
        ]
        await steps.show(database, *others, *ours)
        vector = builders.text_vector("word word word")
        legs = await steps.search(database, "word", vector=vector, limit=3, filters={"lang": ["ru"]})
        assert {hit.source for hit in legs.text} == {"ours-0", "ours-1", "ours-2"}
        assert {hit.source for hit in legs.vector} == {"ours-0", "ours-1", "ours-2"}

    async def test_filter_does_not_change_scores(self, database: Database):
        await steps.open_papers(database)
        versions = [
            builders.version(f"{n}", [f"word {'more ' * n}"], metadata={"n": n % 2}) for n in range(6)
        ]
        await steps.show(database, *versions)
        legs = await steps.search(database, "word more", filters={"n": ["1"]})
        scores = dict(steps.bm25(versions, "word more"))
        assert len(legs.text) == 3
        for hit in legs.text:
            assert hit.score == pytest.approx(scores[hit.chunk_id], rel=1e-6)

    async def test_replaced_metadata_is_what_filters_see_at_once(
        self, database: Database, clock: ManualClock
    ):
        await steps.open_papers(database)
        changed = builders.version("file:///a", ["word a", "word b"], metadata={"lang": "en", "old": 1})
        kept = builders.version("file:///b", ["word c"], metadata={"lang": "en"})
        await steps.show(database, changed, kept)
        before = (await database.documents.find_documents([changed.document_id]))[changed.document_id]
        clock.advance(60)
        new = {"lang": ["ru", "en-GB"], "год": 2024}
        changes = {changed.document_id: new, uuid4(): {"lang": "ru"}}
        assert await database.documents.update_metadata(changes) == 1
        assert await _matching(database, lang="ru") == {"word a", "word b"}
        assert await _matching(database, год="2024") == {"word a", "word b"}
        assert await _matching(database, lang="en") == {"word c"}
        assert await _matching(database, old="1") == set()
        after = (await database.documents.find_documents([changed.document_id]))[changed.document_id]
        assert (after.metadata, after.updated_at) == (new, clock.now())
        assert (after.version, after.created_at) == (before.version, before.created_at)
        hits = await database.documents.list_chunks(changed.document_id)
        assert [hit.metadata for hit in hits] == [new, new]

    async def test_metadata_of_a_new_version_is_what_filters_see(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, builders.version("a", ["word old"], metadata={"lang": "en"}))
        await steps.stage(database, builders.version("a", ["word new"], metadata={"lang": "ru"}))
        assert await _matching(database, lang="en") == {"word old"}
        assert await _matching(database, lang="ru") == set()
        await steps.show(database, builders.version("a", ["word new"], metadata={"lang": "ru"}))
        assert await _matching(database, lang="en") == set()
        assert await _matching(database, lang="ru") == {"word new"}

    async def test_metadata_comes_back_as_it_was_given(self, database: Database):
        await steps.open_papers(database)
        for name, metadata in METADATA.items():
            version = builders.version(name, ["word"], metadata=metadata)
            await steps.show(database, version)
            (hit,) = await database.documents.list_chunks(version.document_id)
            assert hit.metadata == metadata


async def _matching(database: Database, **values: str) -> set[str]:
    filters = {key: [value] for key, value in values.items()}
    by_words = await steps.found(database, "word", filters=filters)
    assert await steps.near(database, filters=filters) == by_words
    return by_words
