"""A whole installation, copied from SQLite to PostgreSQL to Qdrant and back to SQLite: the same to the bit.

``GRISTMILL_TEST_SOAK`` has it do so with 50,000 chunks of 512 dimensions.
"""

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gristmill.commands.copying import copy
from gristmill.domain.document import Hit
from gristmill.ports.database import ReplicatedDatabase
from gristmill.ports.documents import Legs
from gristmill.ports.rows import Kind
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite, the_same_rows
from tests.support.installation import Installation, Size
from tests.support.postgres_databases import PostgresHost
from tests.support.qdrant_databases import new_qdrant

SOAK = bool(os.environ.get("GRISTMILL_TEST_SOAK"))
CHUNKS = 50_000 if SOAK else 1_000
# More are deleted than copied.
FILLED = CHUNKS * 26 // 25
SIZE = Size(FILLED, dimensions=512, long=2_500) if SOAK else Size(FILLED, dimensions=32, long=300)
WITHIN_SECONDS = 600
HITS = 50
FILTERS = {"third": ["1"], "names": ["n1", "n2"]}
QUESTIONS = ("word17 слово21", "日本1999 naïve7 word3", "never shown", "waits", "again")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def places(
    clock: ManualClock, postgres: PostgresHost, tmp_path: Path
) -> AsyncIterator[dict[str, ReplicatedDatabase]]:
    """Four databases in the order of the copies."""
    made = []
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
        made.append(await new_sqlite(tmp_path / name, clock))
    qdrant = await new_qdrant(clock)
    async with postgres.opened(clock) as postgresql:
        yield {"sqlite": made[0], "postgresql": postgresql, "qdrant": qdrant, "sqlite again": made[1]}
    for each in (*made, qdrant):
        await each.close()


async def test_an_installation_that_went_around_is_the_same_to_the_bit(
    places: dict[str, ReplicatedDatabase], clock: ManualClock, tmp_path: Path, record_property: Any
):
    databases = list(places.values())
    await Installation(databases[0], clock, SIZE).fill()
    clock.advance(days=1)
    expected, answers = await everything_shown(databases[0], SIZE)
    assert sum(len(each.text) for each in answers) > 50
    legs, counted = [], list[Counter[Kind]]()
    for (one, source), (other, target) in pairwise(places.items()):
        begun = time.perf_counter()
        copied = await copy(source, target, clock=clock, on_rows=lambda _kind, _rows: None)
        legs.append((f"{one} -> {other}", time.perf_counter() - begun))
        assert copied.differences == []
        counted.append(copied.rows)
        shown, found = await everything_shown(target, SIZE)
        assert [name for name in expected if shown[name] != expected[name]] == []
        for before, after in zip(answers, found, strict=True):
            the_same_answers(before.text, after.text)
            the_same_answers(before.vector, after.vector)
    assert counted[0] == counted[1] == counted[2]
    await the_same_rows(databases[0], databases[-1])
    for each in (databases[0], databases[-1]):
        await each.close()
    files = [tmp_path / name / "gristmill.db" for name in ("first", "last")]
    chunks = await asyncio.to_thread(the_same_tables, *files)
    record_property("figures", table(legs, chunks))
    assert chunks >= CHUNKS
    assert sum(took for _, took in legs) < WITHIN_SECONDS


def the_same_tables(one: Path, other: Path) -> int:
    """Past the product: what the files hold of chunks and vectors; returns how many chunks there are."""
    tables = {
        "vectors": "SELECT vector_id, data FROM vectors ORDER BY vector_id",
        "chunks": (
            'SELECT chunk_id, version, idx, vector_id, start, "end", page, heading, text FROM chunks '
            "ORDER BY chunk_id"
        ),
        "records": "SELECT batch_id, item_id, status, error_message, payload FROM records ORDER BY record_id",
    }
    counts = {}
    for name, query in tables.items():
        counts[name] = 0
        for left, right in zip(rows_of(one, query), rows_of(other, query), strict=True):
            assert left == right
            counts[name] += 1
    return counts["chunks"]


def rows_of(path: Path, query: str) -> Iterator[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        yield from connection.execute(query)


async def everything_shown(database: ReplicatedDatabase, size: Size) -> tuple[dict[str, Any], list[Legs]]:
    """What its users see: batches with their figures, documents, and the answers of searches."""
    page = await database.batches.list_batches(limit=100)
    listed = sorted(page.batches, key=lambda batch: str(batch.batch_id))
    shown: dict[str, Any] = {"batches": listed, "collections": await database.documents.list_collections()}
    for batch in listed:
        batch_id = batch.batch_id
        shown[f"records of {batch.name}"] = await batches.records_of(database, batch_id)
        shown[f"figures of {batch.name}"] = await database.batches.batch_status_view(batch_id)
        shown[f"errors of {batch.name}"] = await database.batches.get_error_groups(batch_id)
    answers = []
    for name, embedding in size.collections.items():
        listing = await database.documents.list_documents(name, limit=documents.EVERYTHING)
        shown[f"documents of {name}"] = listing.documents
        for seed, words in enumerate(QUESTIONS):
            query = {"collection": name, "vector": builders.random_unit(seed, embedding.dimensions)}
            answers.append(await documents.search(database, words, **query, limit=HITS))
            answers.append(await documents.search(database, words, **query, limit=HITS, filters=FILTERS))
    return shown, answers


def the_same_answers(expected: Sequence[Hit], found: Sequence[Hit]) -> None:
    """The same hits; of two whose scores are the same but for rounding either may come first, and be the last."""
    scores = [hit.score for hit in expected]
    assert [hit.score for hit in found] == pytest.approx(scores, rel=1e-4, abs=1e-6)
    clear = [replace(hit, score=0) for hit in expected if hit.score > scores[-1] * (1 + 1e-4) + 1e-6]
    here = {hit.chunk_id: replace(hit, score=0) for hit in found}
    assert [here.get(hit.chunk_id) for hit in clear] == clear


def table(legs: Sequence[tuple[str, float]], chunks: int) -> str:
    lines = [f"{name:28} {took:7.1f} s {chunks / took:8.0f} chunks/s" for name, took in legs]
    return "\n".join([f"stores copy of {chunks:,} chunks", *lines])
