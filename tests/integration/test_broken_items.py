"""Items that break the process they run in, among good ones in one group, on SQLite with real pool processes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from gristmill import wiring
from gristmill.commands.ingest import IngestRequest, ingest_paths
from gristmill.domain.record import Record, RecordStatus
from gristmill.engine.core import Core
from gristmill.pipeline.documents import DocumentsProcessor
from gristmill.pipeline.preparing import ItemLimits, Preparing
from gristmill.settings import Settings
from tests.support.breaking_extractor import BREAKS, HARMLESS, BreakingExtractor

ATTEMPTS = 2
SAID = {
    "segfault": "SIGSEGV",
    "exit": "exit code 0",
    "kill": "SIGKILL",
    "memory": "item_memory_bytes",
    "hang": "item_timeout_seconds",
    "sleep": "item_timeout_seconds",
    "odd": "OddError",
    "recursion": "RecursionError",
}
LIMITS = ItemLimits(time_seconds=1.5, memory_bytes=512 << 20)


@pytest.fixture
async def core(tmp_path: Path):
    settings = Settings(
        home=tmp_path / "home",
        embedder="wordllama",
        workers=2,
        max_retries=ATTEMPTS - 1,
        retry_delay_seconds=0.01,
    )
    built = wiring.build(settings)
    recipe = replace(wiring._recipe(settings), extractor=BreakingExtractor())
    processor = wiring._documents_processor(settings, built.database, built.executor, recipe)
    assert isinstance(processor, DocumentsProcessor)
    processor._preparing = Preparing(built.executor, recipe, LIMITS)
    in_one_group = replace(built.worker, least_group_records=100)
    core = replace(built, processors={processor.kind: processor}, worker=in_one_group)
    await core.open()
    yield core
    await core.close()


def write(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / f"{name}.txt").write_text(f"This is what {name} says of pumps.\n")
    return folder


async def ingested(core: Core, folder: Path) -> dict[str, Record]:
    request = IngestRequest(paths=[str(folder)], batch_id=uuid4())
    await ingest_paths(core, request)
    page = await core.database.batches.get_processing_results(request.batch_id, limit=1_000)
    return {Path(record.source or "").stem: record for record in page.records}


@pytest.mark.parametrize("how", ["segfault", "sleep", "memory"])
async def test_three_breaking_files_cost_ninety_seven_good_ones_nothing(core: Core, tmp_path: Path, how: str):
    good = [f"good-{number}" for number in range(97)]
    bad = [f"{how}-{number}" for number in range(3)]
    found = await ingested(core, write(tmp_path / "files", *good, *bad))
    ends = Counter((found[name].status, found[name].attempts) for name in good)
    assert ends == {(RecordStatus.COMPLETED, 1): 97}
    for name in bad:
        error = found[name].error
        assert error is not None
        assert (found[name].status, found[name].attempts) == (RecordStatus.FAILED, ATTEMPTS)
        assert error.category is BREAKS[how]


async def test_each_accident_ends_as_what_it_is_and_says_so(core: Core, tmp_path: Path):
    names = [*BREAKS, *HARMLESS, *(f"good-{number}" for number in range(20))]
    found = await ingested(core, write(tmp_path / "files", *names))
    errors = {name: found[name].error for name in BREAKS}
    assert {name: error.category for name, error in errors.items() if error} == BREAKS
    for name, words in SAID.items():
        error = errors[name]
        assert error is not None
        assert words in error.message
    completed = {name for name, record in found.items() if record.status is RecordStatus.COMPLETED}
    assert completed == set(names) - set(BREAKS)
    assert {found[name].attempts for name in completed} == {1}
    assert {found[name].attempts for name in BREAKS} == {ATTEMPTS}
