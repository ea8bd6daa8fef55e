"""A real worker process over the databases of the settings: ``python -m tests.support.chaos_worker HOME LOG``.

Its items do nothing but take a moment, until there is a file ``LOG.hurry``. A line of the log is
``<event> <pid> <monotonic seconds> <item> <epoch>``; ``ack`` says that the database has acknowledged the completion of
the item.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gristmill import settings, wiring
from gristmill.commands import ingest
from gristmill.domain.record import Done, Record, Refusal, Report
from gristmill.ports.batches import Batches
from gristmill.ports.processor import Processed, ShowStage

KIND = "things"
ITEM_SECONDS = 0.07  # So that a batch lasts longer than its outages.
GROUP = 10


class Log:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._hurry = path.with_name(f"{path.name}.hurry")

    @property
    def hurries(self) -> bool:
        return self._hurry.exists()

    def note(self, event: str, item: str = "-", epoch: int = 0) -> None:
        os.write(self._file, f"{event} {os.getpid()} {time.monotonic():.6f} {item} {epoch}\n".encode())


class Pause:
    kind = KIND

    def __init__(self, log: Log) -> None:
        self._log = log

    async def process(self, records: Sequence[Record], _show_stage: ShowStage) -> AsyncIterator[Processed]:
        for record in records:
            self._log.note("start", record.item_id, record.epoch)
            if not self._log.hurries:
                await asyncio.sleep(ITEM_SECONDS)
            yield Processed(record, Done())


class Acknowledged:
    """The batch port; what it acknowledges of outcomes is noted."""

    def __init__(self, inner: Batches, log: Log) -> None:
        self._inner = inner
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def update_processing_status(self, reports: Sequence[Report]) -> Sequence[Refusal]:
        refused = await self._inner.update_processing_status(reports)
        no = {id(each.report) for each in refused}
        for report in reports:
            event = "refused" if id(report) in no else "ack"
            self._log.note(event, report.record.item_id, report.record.epoch)
        return refused


async def work(home: Path, path: Path) -> None:
    core = wiring.build(settings.load(home=home, embedder="wordllama", workers=1))
    log = Log(path)
    database: Any = core.database
    database.batches = Acknowledged(database.batches, log)
    options = replace(core.worker, group_records=GROUP, poll_seconds=0.1)
    core = replace(core, processors={KIND: Pause(log)}, worker=options)
    await core.open()
    log.note("ready")
    try:
        await ingest.work_for_ever(core, on_outage=lambda _error, _pause: log.note("outage"))
    finally:
        await core.close()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2])))
