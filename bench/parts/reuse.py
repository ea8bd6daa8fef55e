"""Ingesting what is there already: 2,000 unchanged files, looked at again and not embedded again."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from bench import own_questions, product
from bench.context import Context, say, timed
from bench.recombined import Recombined
from bench.tables import Measure, Requirement, Table
from gristmill import settings, wiring
from gristmill.commands.ingest import IngestRequest, ingest_paths
from gristmill.engine.core import Core
from gristmill.executors.local import LocalExecutor
from gristmill.ports.executor import Broken, Call, Executor, Returned

FILES = 2_000
FILES_A_SECOND = 1_000
WORDS = 150


class CountingExecutor:
    """Passes calls on and counts them: extraction and embedding both run through the executor."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.calls = 0

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        self.calls += len(calls)
        async for result in self._inner.run(calls):
            yield result

    async def close(self) -> None:
        await self._inner.close()


def run(context: Context) -> Table:
    count = context.size(FILES, quick=200)
    home, files = context.folder("reuse/home"), _files(context.folder("reuse/files"), count)
    say("the first ingest")
    first = _first_ingests(context, files)
    again, calls, vectors = asyncio.run(_ingest_again(home, files, context.repeats))
    say(f"the whole command over {count} unchanged files")
    command = timed(lambda: product.run_command("ingest", str(files), home=home), repeats=context.repeats)
    baseline = timed(lambda: _hash_all(files), repeats=context.repeats)
    rate = again.per(count, "files/s")
    return Table(
        title="Ingesting unchanged files",
        method=(
            f"{count:,} Markdown files of about {WORDS} words, ingested {context.repeats} times into an empty home, then "
            f"again {context.repeats} times into one that has them, each time as a new batch. Median (lowest-highest). The command starts a process and draws its progress; "
            "`ingest_paths` is what it calls."
        ),
        columns=("what", "time", "rate"),
        rows=[
            ["first ingest, everything extracted and embedded", first, first.per(count, "files/s")],
            ["again, `ingest_paths` in a process that runs", again, rate],
            ["again, the whole `gristmill ingest` command", command, command.per(count, "files/s")],
            ["baseline: read and SHA-256 by plain Python", baseline, baseline.per(count, "files/s")],
        ],
        requirements=[
            Requirement(
                f"unchanged files go at {FILES_A_SECOND:,} a second or more",
                str(rate),
                rate.median >= FILES_A_SECOND,
            ),
            Requirement(
                "unchanged files cost no extraction and no embedding",
                f"{calls} calls, {vectors} new vectors",
                calls == vectors == 0,
            ),
        ],
    )


def _files(folder: Path, count: int) -> Path:
    passages, _ = own_questions.load()
    words = Recombined([passage.text for passage in passages], seed=1)
    texts = {
        f"{number % 20:02}-{number:05}.md": f"# {passages[number % len(passages)].title} {number}\n\n{words.text(WORDS)}\n"
        for number in range(count)
    }
    return product.write_files(folder, texts)


def _first_ingests(context: Context, files: Path) -> Measure:
    homes = [context.folder(f"reuse/first-{number}") for number in range(context.repeats)]
    return Measure.of([asyncio.run(_ingest_once(home, files)) for home in homes], "s")


async def _ingest_once(home: Path, files: Path) -> float:
    core = wiring.build(settings.load(home=home))
    await core.open()
    try:
        return await _ingest(core, files)
    finally:
        await core.close()


async def _ingest_again(home: Path, files: Path, repeats: int) -> tuple[Measure, int, int]:
    chosen = settings.load(home=home)
    executor = CountingExecutor(LocalExecutor(chosen.workers))
    core = wiring.build(chosen, executor=executor)
    await core.open()
    try:
        await _ingest(core, files)
        calls, vectors = executor.calls, _vectors(chosen.database_path)
        say("the same again")
        again = [await _ingest(core, files) for _ in range(repeats)]
    finally:
        await core.close()
    added = _vectors(chosen.database_path) - vectors
    return Measure.of(again, "s"), executor.calls - calls, added


async def _ingest(core: Core, files: Path) -> float:
    started = time.perf_counter()
    ingest = await ingest_paths(core, IngestRequest([str(files)]))
    seconds = time.perf_counter() - started
    view = await core.database.batches.batch_status_view(ingest.batch_id)
    if view.completed_count != ingest.selected:
        raise product.UnexpectedError(f"{view.completed_count} of {ingest.selected}: {view.error_messages}")
    return seconds


def _vectors(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def _hash_all(files: Path) -> list[str]:
    return [sha256(path.read_bytes()).hexdigest() for path in sorted(files.iterdir())]
