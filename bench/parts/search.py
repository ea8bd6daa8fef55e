"""Search over 100,000 chunks in a process that runs: how long it takes, and whether it finds what there is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from bench import search_queries, synthetic
from bench.context import Context, say
from bench.exact import HITS, ExactSearch, FullTextSearch
from bench.search_queries import Query, Remembered
from bench.synthetic import Built
from bench.tables import Cell, Measure, Requirement, Table
from gristmill import settings, wiring
from gristmill.engine.core import Core
from gristmill.insights.search import SearchRequest, SearchType, search
from gristmill.pipeline.documents import DEFAULT_COLLECTION
from gristmill.pipeline.tokens import query_tokens
from gristmill.ports.documents import ChunkQuery

SHORT, LONG = 200, 50
P95_MS = {SearchType.VECTOR: 40.0, SearchType.TEXT: 40.0, SearchType.HYBRID: 80.0}
TOLERANCE = 1e-5

Latencies = tuple[Measure, Measure]  # p50 and p95 over passes.
Timed = Mapping[tuple[SearchType, str], Latencies]  # By kind and length of the query.


def run(context: Context) -> Table:
    return asyncio.run(_run(context))


async def _run(context: Context) -> Table:
    built = await synthetic.build(context)
    core = wiring.build(settings.load(home=built.home))
    await core.open()
    try:
        short = search_queries.short(context, context.size(SHORT, quick=30))
        long = search_queries.long(context, context.size(LONG, quick=10))
        embedder = Remembered(core.load_embedder(), [*short, *long])
        core = replace(core, load_embedder=lambda: embedder)
        say("comparing with exact search")
        equal = await _equal_answers(core, built, short, embedder)
        say("timing searches")
        timed = {
            (kind, name): await _latencies(context, queries, partial(_search, core, kind))
            for name, queries in (("short", short), ("long", long))
            for kind in SearchType
        }
    finally:
        await core.close()
    say("timing the baselines")
    baselines = await _baselines(context, built, embedder, {"short": short, "long": long})
    return _table(built, len(short), len(long), timed, baselines, equal)


async def _search(core: Core, kind: SearchType, query: Query) -> None:
    await search(core, SearchRequest(query.text, kind, HITS, DEFAULT_COLLECTION, query.filters))


async def _latencies(
    context: Context, queries: Sequence[Query], ask: Callable[[Query], Awaitable[object]]
) -> Latencies:
    """Percentiles of each pass over the queries; the first pass only warms up."""
    halves, tails = [], []
    for _ in range(context.repeats + 1):
        milliseconds = []
        for query in queries:
            started = time.perf_counter()
            await ask(query)
            milliseconds.append(1_000 * (time.perf_counter() - started))
        halves.append(float(np.percentile(milliseconds, 50)))
        tails.append(float(np.percentile(milliseconds, 95)))
    return Measure.of(halves[1:], "ms"), Measure.of(tails[1:], "ms")


async def _equal_answers(
    core: Core, built: Built, queries: Sequence[Query], embedder: Remembered
) -> dict[str, int]:
    """How many queries each leg answers as exact search does."""
    exact = ExactSearch(built)
    equal = {"text": 0, "vector": 0}
    for query in queries:
        tokens, vector = query_tokens(query.text), embedder.embed_query(query.text)
        legs = await core.database.documents.search(
            ChunkQuery(DEFAULT_COLLECTION, HITS, tokens=tokens, vector=vector, filters=query.filters)
        )
        allowed = exact.allowed(query.filters) if query.filters else np.ones(len(built.chunk_ids), bool)
        for leg, hits, scores, above in (
            ("text", legs.text, np.where(allowed, exact.text(tokens), 0.0), 0.0),
            ("vector", legs.vector, np.where(allowed, exact.vector(vector), -2.0), -2.0),
        ):
            found = [(str(hit.chunk_id), hit.score) for hit in hits]
            equal[leg] += exact.agrees(found, scores, above=above, tolerance=TOLERANCE)
    return equal


async def _baselines(
    context: Context, built: Built, embedder: Remembered, queries: dict[str, Sequence[Query]]
) -> dict[str, Latencies]:
    async def multiply(query: Query) -> None:
        scores = built.vectors @ embedder.embed_query(query.text)
        np.argpartition(scores, -HITS)

    found = {"vector": await _latencies(context, queries["short"], multiply)}
    with closing(FullTextSearch(context.folder("fts5") / "texts.db", built.tokens)) as texts:

        async def match(query: Query) -> None:
            texts.find(query_tokens(query.text), HITS)

        for name, asked in queries.items():
            found[name] = await _latencies(context, asked, match)
    return found


def _table(
    built: Built,
    short: int,
    long: int,
    timed: Timed,
    baselines: Mapping[str, Latencies],
    equal: Mapping[str, int],
) -> Table:
    chunks, passes = len(built.chunk_ids), baselines["vector"][0].runs
    return Table(
        title=f"Search over {chunks:,} chunks",
        method=(
            f"{chunks:,} chunks in {chunks // synthetic.CHUNKS_A_DOCUMENT:,} documents, written through the document "
            f"port once, in {built.seconds:.0f} s ({chunks / built.seconds:,.0f} chunks/s). Texts are real English and Russian "
            "sentences recombined, with words exchanged by their frequency; vectors are synthetic, scattered around the "
            f"default model's vectors of real sentences. {short} different queries of 2-8 words, a third of them "
            f"filtered, and {long} questions of Cranfield in full. Warm process, one query at a time, ten results, the "
            f"whole of `search` but for the embedding of the query. Percentiles of each of {passes} passes over the "
            "same queries, after one to warm up: median (lowest-highest)."
        ),
        columns=("search", "p50", "p95"),
        rows=_rows(timed, baselines),
        requirements=[*_fast_enough(timed), *_exact_enough(equal, short)],
    )


def _rows(timed: Timed, baselines: Mapping[str, Latencies]) -> list[list[Cell]]:
    lengths = {"short": "a few words", "long": "long questions"}
    rows: list[list[Cell]] = [
        [f"{kind}, {lengths[name]}", *measures] for (kind, name), measures in timed.items()
    ]
    return [
        *rows,
        ["baseline for vector: numpy, whole matrix, unfiltered", *baselines["vector"]],
        ["baseline for text: FTS5 bm25, a few words, unfiltered", *baselines["short"]],
        ["baseline for text: FTS5 bm25, long questions", *baselines["long"]],
    ]


def _fast_enough(timed: Timed) -> Iterator[Requirement]:
    for kind, limit in P95_MS.items():
        measured = timed[kind, "short"][1]
        yield Requirement(f"p95 of {kind} is at most {limit:g} ms", str(measured), measured.median <= limit)


def _exact_enough(equal: Mapping[str, int], queries: int) -> Iterator[Requirement]:
    for leg, count in equal.items():
        yield Requirement(
            f"the {leg} leg answers as exact search does", f"{count} of {queries} queries", count == queries
        )
