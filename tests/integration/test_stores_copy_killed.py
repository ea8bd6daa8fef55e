"""``stores copy`` killed with kill -9 again and again and run until it ends: all is there, to the bit, and once.

``GRISTMILL_TEST_SOAK`` has it killed at 10 drawn moments of a larger copy each.
"""

import asyncio
import itertools
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gristmill.engine.comparing import all_rows, same_content
from gristmill.ports.clock import SystemClock
from gristmill.ports.database import ReplicatedDatabase
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from gristmill.stores.sql.database import SqlDatabase
from gristmill.stores.sql.postgres_database import PostgresDatabase
from tests.contract import documents_contract_steps as documents
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite, the_same_rows
from tests.support.installation import Installation, Size
from tests.support.postgres_databases import PostgresHost
from tests.support.qdrant_databases import emptied
from tests.support.shell import Shell

SOAK = bool(os.environ.get("GRISTMILL_TEST_SOAK"))
SIZE = Size(5_000, dimensions=64, long=1_500) if SOAK else Size(600, dimensions=16, long=100)
TABLES = ("vectors", "chunks", "documents", "records")
ENDS_WITHIN = 240 if SOAK else 60
# Shorter than what is left to copy takes; without a pause the looking takes as much of the machine as the copy.
LOOKS_AGAIN_SECONDS = 0.01
SAID = "the copy from sqlite has not ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """To kill: ``after_seconds`` from when the target holds this ``share`` of the rows of ``table``."""

    table: str
    share: float
    after_seconds: float = 0.0


def drawn(seed: int) -> list[Moment]:
    draw = random.Random(seed)
    return [Moment(draw.choice(TABLES), draw.random(), draw.uniform(0.0, 0.3)) for _ in range(10)]


@dataclass(frozen=True, slots=True)
class Target:
    """``counts``: what there is in it, by table, asked past the product. ``new``: it, not yet opened."""

    kind: str
    variables: Mapping[str, str]
    counts: Callable[[], Mapping[str, int]]
    new: Callable[[], ReplicatedDatabase]


Place = Callable[[PostgresHost, Path], AbstractContextManager[Target]]


@contextmanager
def on_postgresql(postgres: PostgresHost, folder: Path) -> Iterator[Target]:
    with postgres.migrated() as name:
        server = postgres.server(name)
        counting = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)

        def counts() -> Mapping[str, int]:
            return dict(zip(TABLES, postgres.execute(name, f"SELECT {counting}")[0], strict=True))

        yield Target(
            "postgresql",
            {"POSTGRESQL_URL": server.url.render_as_string(hide_password=False)},
            counts,
            lambda: PostgresDatabase(server, clock=SystemClock(), folder=folder),
        )


@contextmanager
def on_qdrant(_postgres: PostgresHost, _folder: Path) -> Iterator[Target]:
    options = emptied()
    key = None if options.api_key is None else options.api_key.get_secret_value()
    headers = {} if key is None else {"api-key": key}
    with httpx.Client(base_url=options.url, headers=headers) as client:
        yield Target(
            "qdrant",
            {
                "QDRANT_URL": options.url,
                "QDRANT_API_KEY": key or "",
                "GRISTMILL_QDRANT_PREFIX": options.prefix,
            },
            lambda: _points(client, options),
            lambda: QdrantDatabase(options, clock=SystemClock()),
        )


def _points(client: httpx.Client, options: QdrantOptions) -> Mapping[str, int]:
    found = dict.fromkeys(TABLES, 0)
    for each in client.get("/collections").json()["result"]["collections"]:
        kind = each["name"].removeprefix(f"{options.prefix}_").partition("_")[0]
        if each["name"].startswith(f"{options.prefix}_") and kind in found:
            answer = client.post(f"/collections/{each['name']}/points/count", json={"exact": True})
            found[kind] += answer.json()["result"]["count"]
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the installation that is copied."""
    folder = tmp_path_factory.mktemp("home")

    async def fill() -> None:
        clock = ManualClock()
        database = await new_sqlite(folder, clock)
        await Installation(database, clock, SIZE).fill()
        await database.close()

    asyncio.run(fill())
    return folder


def tables_of(home: Path) -> Mapping[str, int]:
    with sqlite3.connect(home / "gristmill.db") as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def waiting(home: Path) -> int:
    """Chunks of versions that are not shown. What a kill leaves of them on Qdrant goes when they are."""
    with sqlite3.connect(home / "gristmill.db") as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM chunks JOIN documents ON documents.no = document_no WHERE version IS NOT live_version"
        ).fetchone()
    return int(count)


@pytest.mark.parametrize(
    ("place", "moments"),
    [
        (on_postgresql, [Moment("vectors", 1.0, 0.03)]),
        (on_qdrant, [Moment("chunks", 0.5), Moment("documents", 0.5)]),
    ],
    ids=["postgresql", "qdrant"],
)
def test_a_copy_that_is_killed_is_known_and_harmless_and_the_same_command_completes_it(
    place: Place, moments: Sequence[Moment], postgres: PostgresHost, home: Path, tmp_path: Path
):
    with place(postgres, tmp_path) as target:
        shell, whole = Shell(home, **target.variables), tables_of(home)
        hit = 0
        for moment in drawn(seed=1) if SOAK else moments:
            if not killed_at(moment, shell, target, whole):
                continue
            hit += 1
            (store,) = shell.look("stores", "status")["databases"]
            assert (store["state"], store["half_copied"]) == ("serving", SAID)
            problems = shell.look("doctor", code=1)["problems"]
            assert [each for each in problems if SAID in each["why"]]
            asyncio.run(expect_nothing_else(home, target))
        assert hit >= (5 if SOAK else 1)
        ran = shell.look("stores", "copy", "--from", "sqlite", "--to", target.kind)
        assert (ran["count"], ran["differences"]) == (0, [])
        there = target.counts()
        assert there | {"chunks": 0} == whole | {"chunks": 0}
        left_over = there["chunks"] - whole["chunks"]
        assert 0 <= left_over <= (hit * waiting(home) if target.kind == "qdrant" else 0)
        asyncio.run(expect_the_same(home, target))
        assert shell.look("stores", "status")["databases"][0]["half_copied"] is None


def killed_at(moment: Moment, shell: Shell, target: Target, whole: Mapping[str, int]) -> bool:
    """Whether it was killed; False if it ended before that moment."""
    process = shell.start("stores", "copy", "--from", "sqlite", "--to", target.kind)
    deadline = time.monotonic() + ENDS_WITHIN
    try:
        while target.counts()[moment.table] < moment.share * whole[moment.table] and process.poll() is None:
            assert time.monotonic() < deadline, "The copy hangs."
            time.sleep(LOOKS_AGAIN_SECONDS)
        time.sleep(moment.after_seconds)
    finally:
        process.kill()
        process.communicate()
    return process.returncode < 0


@asynccontextmanager
async def opened(home: Path, target: Target) -> AsyncIterator[tuple[ReplicatedDatabase, ReplicatedDatabase]]:
    source, copied = SqlDatabase(home / "gristmill.db", clock=SystemClock()), target.new()
    for each in (source, copied):
        await each.open()
    yield source, copied
    for each in (source, copied):
        await each.close()


async def expect_nothing_else(home: Path, target: Target) -> None:
    """Each row is as it is in the source, each document is whole, and no passage is found twice."""
    async with opened(home, target) as (source, copied):
        async for rows in all_rows(copied):
            there = await source.replication.find(rows)
            assert all(each is not None for each in there)
            assert all(itertools.starmap(same_content, zip(rows, there, strict=True)))
        for each in await copied.documents.list_collections():
            name = each.collection.name
            listed = await copied.documents.list_documents(name, limit=documents.EVERYTHING)
            for shown in listed.documents:
                assert len(await copied.documents.list_chunks(shown.document_id)) == shown.chunks
            hits = (await documents.search(copied, "word1 word2", collection=name)).text
            assert len({hit.chunk_id for hit in hits}) == len(hits)


async def expect_the_same(home: Path, target: Target) -> None:
    async with opened(home, target) as databases:
        await the_same_rows(*databases)
