"""A real worker process whose items only leave traces in a log: ``python -m tests.support.logging_worker HOME LOG``.

A line of the log is ``<event> <pid> <monotonic seconds> <item> <epoch>``; whole lines of several processes do not mix.
On SIGUSR1 it reports again, late, whatever it held when it was frozen, and logs how many of these were refused.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from gristmill import settings, wiring
from gristmill.domain.record import Done, Record, Report, Result
from gristmill.ports.processor import Processed, ShowStage

KIND = "things"
ITEM_SECONDS = 0.0005


class LoggingProcessor:
    kind = KIND

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._groups: list[Sequence[Record]] = []

    @property
    def in_hand(self) -> list[Record]:
        return [record for group in self._groups for record in group]

    def note(self, event: str, item: object = "-", epoch: int = 0) -> None:
        line = f"{event} {os.getpid()} {time.monotonic():.6f} {item} {epoch}\n"
        os.write(self._log, line.encode())

    async def process(self, records: Sequence[Record], show_stage: ShowStage) -> AsyncIterator[Processed]:
        self._groups.append(records)
        await show_stage(records, "working", 10)
        for record in records:
            self.note("start", record.item_id, record.epoch)
            try:
                await asyncio.sleep(ITEM_SECONDS)
            finally:  # Also when its lease is lost: then it stops here, before another one starts it.
                self.note("end", record.item_id, record.epoch)
            yield Processed(record, Done(Result(details={"pid": os.getpid(), "epoch": record.epoch})))
        self._groups.remove(records)


async def work(home: Path, log: Path) -> None:
    core = wiring.build(settings.load(home=home, embedder="wordllama", workers=1))
    processor = LoggingProcessor(log)
    core = replace(
        core, processors={KIND: processor}, worker=replace(core.worker, group_records=100, poll_seconds=0.05)
    )
    await core.open()
    late: set[asyncio.Task[None]] = set()

    async def report_late() -> None:
        held = processor.in_hand
        refused = await core.database.batches.update_processing_status(
            [Report(each, Done()) for each in held]
        )
        processor.note("late", len(held), len(refused))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: late.add(asyncio.create_task(report_late())))
    processor.note("ready")
    try:
        await core.new_worker().run(stay=True)
    finally:
        await core.close()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2])))
