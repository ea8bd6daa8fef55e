"""SQLite, PostgreSQL and Qdrant, each alone, give the same report and the same answers for the same files."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from gristmill.commands.ingest import IngestRequest, ingest_paths
from gristmill.engine.core import Core
from gristmill.executors import inline
from gristmill.executors.inline import InlineExecutor
from gristmill.insights.search import SearchRequest, SearchType, search
from gristmill.ports.executor import Broken, Call, Returned
from gristmill.settings import Settings
from gristmill.wiring import build
from tests.support.postgres_databases import PostgresHost
from tests.support.qdrant_server import shared_server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUESTIONS = (
    "how often must the forklift licence be refreshed",
    "how long may unused goods be returned",
    "how dry must the screed be before tiling",
    "what happened in the cement shed",
    "when does the counter open from April",
    "which goods can not be taken back",
    "delivery zones and their prices",
    "how is the mixer cleaned after work",
    "which suppliers deliver late",
    "first aid after sealant gets into the eyes",
    "какая влажность стяжки допустима",
    "какой залог за синий поддон",
    "сколько килограммов поднимает один человек",
    "кто проводит инструктаж новых работников",
    "запись на обучение заточке",
    "как вернуть пустую тару",
    "что делать при протечке кровли",
    "как принимают товар от поставщика",
    "где обязательна каска",
    "цемент портландский в мешках",
)
# One slip away from words that the files have.
SLIPS = {"frklift": "forklift", "цемнет": "цемент", "adhezive sealnat": "adhesive"}
TOP = 10
EVERYTHING = 1_000
OF_ITS_OWN = {
    *("batch_id", "batch_created_at", "batch_started_at", "batch_completed_at", "latest_error_at"),
    "processing_hours",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What one database says: the status view of the ingest, and of each question all hits, best first."""

    view: dict[str, Any]
    hits: dict[tuple[SearchType, str], list[tuple[UUID, UUID, float]]]
    instead: dict[str, list[str]]

    def chunks(self, kind: SearchType, question: str) -> list[UUID]:
        return [chunk for chunk, _, _ in self.hits[kind, question]][:TOP]

    def scores(self, question: str) -> list[float]:
        return [score for _, _, score in self.hits[SearchType.VECTOR, question]][:TOP]

    def documents(self, kind: SearchType, question: str) -> set[UUID]:
        return {document for _, document, _ in self.hits[kind, question]}


class OnceExecutor(InlineExecutor):
    """Calls in a thread of this process (extraction has an event loop of its own), each only once for all databases."""

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[bytes, Returned | Broken] = {}

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        for call in calls:
            asked = pickle.dumps((call.function, call.arguments))
            if asked not in self._results:
                self._results[asked] = await asyncio.to_thread(inline._run, call)
            yield replace(self._results[asked], key=call.key)


async def tell(settings: Settings, executor: OnceExecutor) -> Told:
    core = build(settings, executor=executor)
    await core.open()
    try:
        ingested = await ingest_paths(core, IngestRequest([str(EXAMPLES)]))
        view = asdict(await core.database.batches.batch_status_view(ingested.batch_id))
        asked = [(kind, question) for kind in SearchType for question in QUESTIONS]
        return Told(
            {name: value for name, value in view.items() if name not in OF_ITS_OWN},
            {each: await hits(core, *each) for each in asked},
            {query: await instead(core, query) for query in SLIPS},
        )
    finally:
        await core.close()


async def hits(core: Core, kind: SearchType, question: str) -> list[tuple[UUID, UUID, float]]:
    answer = await search(core, SearchRequest(question, kind, EVERYTHING))
    assert not answer.degraded
    assert answer.served_by == core.database.name
    return [(found.hit.chunk_id, found.hit.document_id, found.score) for found in answer.results]


async def instead(core: Core, query: str) -> list[str]:
    answer = await search(core, SearchRequest(query, SearchType.TEXT))
    assert answer.results
    return [*answer.instead, *(str(found.hit.chunk_id) for found in answer.results)]


@pytest.fixture(scope="module")
def told(postgres: PostgresHost, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    folder = tmp_path_factory.mktemp("homes")
    qdrant_url, qdrant_api_key = shared_server()
    nowhere: dict[str, Any] = {"postgresql_url": None, "qdrant_url": None, "qdrant_only_mode": False}
    places: dict[str, dict[str, Any]] = {
        "sqlite": {},
        "postgresql": {
            "postgresql_url": postgres.server(postgres.create()).url.render_as_string(hide_password=False)
        },
        "qdrant": {
            "qdrant_url": qdrant_url,
            "qdrant_api_key": qdrant_api_key,
            "qdrant_prefix": f"test_{uuid4().hex[:12]}",
        },
    }

    async def tell_all() -> dict[str, Told]:
        executor = OnceExecutor()
        return {
            name: await tell(Settings(home=folder / name, **(nowhere | place)), executor)
            for name, place in places.items()
        }

    return asyncio.run(tell_all())


OTHERS = pytest.mark.parametrize("other", ["postgresql", "qdrant"])


@OTHERS
def test_the_report_is_the_same(told: dict[str, Told], other: str):
    assert told[other].view == told["sqlite"].view
    assert told[other].view["completed_count"] == 17
    assert told[other].view["failed_count"] == 1


@OTHERS
def test_vector_search_finds_the_same_with_the_same_scores(told: dict[str, Told], other: str):
    for question in QUESTIONS:
        expected = told["sqlite"].chunks(SearchType.VECTOR, question)
        assert len(expected) == TOP
        assert told[other].chunks(SearchType.VECTOR, question) == expected
        assert told[other].scores(question) == pytest.approx(told["sqlite"].scores(question), abs=1e-4)


@OTHERS
@pytest.mark.parametrize("kind", [SearchType.TEXT, SearchType.HYBRID])
def test_text_and_hybrid_search_find_the_same(told: dict[str, Told], other: str, kind: SearchType):
    for question in QUESTIONS:
        assert told[other].documents(kind, question) == told["sqlite"].documents(kind, question) != set()
        expected = told["sqlite"].chunks(kind, question)
        common = set(told[other].chunks(kind, question)) & set(expected)
        assert len(common) >= min(8, len(expected))


def test_words_one_slip_away_are_the_same_and_said(told: dict[str, Told]):
    for query, meant in SLIPS.items():
        assert meant in told["sqlite"].instead[query]
    assert told["postgresql"].instead == told["qdrant"].instead == told["sqlite"].instead
