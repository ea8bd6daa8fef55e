"""`python -m bench.ingest_process HOME FOLDER EMBEDDER PROCESSES`: an ingest, then the same texts through the embedder alone.

Prints one JSON object: chunks, texts, seconds of each, and the worker's own peak memory in MiB. A process of its own,
so that the memory is that of one worker.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.submission_memory import peak_mebibytes
from gristmill import embedders, settings, wiring
from gristmill.commands.ingest import IngestRequest, ingest_paths
from gristmill.domain.document import embedded_text
from gristmill.engine.core import Core
from gristmill.executors.local import LocalExecutor
from gristmill.ports.executor import Broken, Call

SLICE_TEXTS = 64
_PAGE = 500


async def measure(home: Path, folder: Path, embedder: str, processes: int) -> dict[str, float]:
    core = wiring.build(settings.load(home=home, embedder=embedder, workers=processes))
    await core.open()
    try:
        await _warm(core.executor, embedder)
        started = time.perf_counter()
        done = await ingest_paths(core, IngestRequest(paths=[str(folder)]))
        seconds, peak = time.perf_counter() - started, peak_mebibytes()
        view = await core.database.batches.batch_status_view(done.batch_id)
        texts = await _texts(core)
    finally:
        await core.close()
    alone = await _embed_alone(list(set(texts)), embedder, processes)
    return {
        "files": view.completed_count,
        "failed": view.failed_count,
        "chunks": len(texts),
        "texts": len(set(texts)),
        "seconds": seconds,
        "alone_seconds": alone,
        "peak_mebibytes": peak,
    }


async def _texts(core: Core) -> list[str]:
    """What was embedded, read back."""
    found: list[str] = []
    after = None
    while True:
        page = await core.database.documents.list_documents("default", limit=_PAGE, after=after)
        for document in page.documents:
            hits = await core.database.documents.list_chunks(document.document_id)
            found += [embedded_text(hit.title, hit.heading, hit.text) for hit in hits]
        after = page.after
        if after is None:
            return found


async def _embed_alone(texts: Sequence[str], embedder: str, processes: int) -> float:
    """Seconds of embedding in as many processes, and nothing else."""
    ordered = sorted(texts, key=len)  # As the pipeline does: a slice costs as much as its longest text.
    slices = [tuple(ordered[at : at + SLICE_TEXTS]) for at in range(0, len(ordered), SLICE_TEXTS)]
    executor = LocalExecutor(processes)
    try:
        await _warm(executor, embedder)
        started = time.perf_counter()
        await _run(executor, embedder, slices)
        return time.perf_counter() - started
    finally:
        await executor.close()


async def _warm(executor: LocalExecutor, embedder: str) -> None:
    """Start the processes and load the model in each: neither is what is compared."""
    await _run(executor, embedder, [("Warm-up.",) * SLICE_TEXTS] * 8)


async def _run(executor: LocalExecutor, embedder: str, slices: Sequence[tuple[str, ...]]) -> None:
    embed = partial(embedders.embed_texts, embedder)
    calls = [Call(str(n), embed, (each,), 600.0, 4 << 30) for n, each in enumerate(slices)]
    async for result in executor.run(calls):
        if isinstance(result, Broken):
            raise TypeError(result.failure.message)


if __name__ == "__main__":
    given = sys.argv
    print(json.dumps(asyncio.run(measure(Path(given[1]), Path(given[2]), given[3], int(given[4])))))
