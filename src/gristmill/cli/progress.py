"""Progress of a batch on stderr: a live bar on a terminal, else a line every few seconds."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol
from uuid import UUID

from gristmill.cli.output import duration, safe, say
from gristmill.domain.batch import Batch, missing_records
from gristmill.engine.core import Core
from gristmill.insights import batches
from gristmill.ports.batches import Progress

LINES_SECONDS = 5.0


class Display(Protocol):
    """``seconds``: how long to wait between looks."""

    seconds: float

    def show(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


def description(progress: Progress) -> str:
    """Done of total, rate, ETA, failures by category."""
    counters = progress.counters
    sealed = progress.batch.sealed_at is not None
    total = f"{max(counters.total, progress.batch.total_files):,}" if sealed else f"{counters.total:,} so far"
    parts = [f"{counters.ended:,} of {total}"]
    if progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if progress.eta_seconds is not None and counters.processing:
        parts.append(f"about {duration(progress.eta_seconds)} left")
    failures = ", ".join(f"{count:,} {category}" for category, count in sorted(progress.failures.items()))
    if failures:
        parts.append(f"failed: {failures}")
    missing = missing_records(progress.batch, counters.total)
    if missing and not counters.open:
        parts.append(f"{missing:,} declared are not here: gristmill batches show {progress.batch.batch_id}")
    if progress.batch.hold.held:
        parts.append(f"held: {safe(progress.batch.hold.reason or '')}")
    return " | ".join(parts)


class LinesDisplay:
    """Writes a line when something changed, but not too often."""

    seconds = 0.5

    def __init__(self) -> None:
        self._last: object = None
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        state = (progress.counters, progress.batch.sealed_at, progress.batch.hold.since)
        now = time.monotonic()
        if state != self._last and now >= self._due and progress.counters.total:
            say(description(progress))
            self._last, self._due = state, now + LINES_SECONDS

    def close(self) -> None:
        """Leave the lines as they are."""


class TerminalDisplay:
    seconds = 0.25

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs Rich.
        from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415

        text = TextColumn("{task.description}", markup=False)
        self._bar = Bar(
            BarColumn(bar_width=30), text, console=Console(stderr=True), auto_refresh=False, transient=True
        )
        self._task = self._bar.add_task("")
        self._bar.start()

    def show(self, progress: Progress) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._bar.update(
                self._task,
                total=max(progress.counters.total, progress.batch.total_files, 1),
                completed=progress.counters.ended,
                description=description(progress),
                refresh=True,
            )

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._bar.stop()


def new_display() -> Display:
    return TerminalDisplay() if sys.stderr.isatty() else LinesDisplay()


async def follow(
    core: Core, batch_id: UUID, *, on_look: Callable[[Batch], Awaitable[None]] | None = None
) -> None:
    """Show the batch until it has ended; ``on_look`` sees it each time. Raises BatchNotFoundError."""
    display = new_display()
    try:
        while True:
            progress = await batches.progress(core, batch_id)
            display.show(progress)
            if progress.batch.ended:
                return
            if on_look is not None:
                await on_look(progress.batch)
            await asyncio.sleep(display.seconds)
    finally:
        display.close()


@contextlib.asynccontextmanager
async def beside(core: Core) -> AsyncIterator[Callable[[UUID], None]]:
    """Yields what starts to show a batch, until the body has ended."""
    following: list[asyncio.Task[None]] = []
    try:
        yield lambda batch_id: following.append(asyncio.create_task(follow(core, batch_id)))
    finally:
        for task in following:
            task.cancel()
        # An outage is for the body to report: this only looks.
        await asyncio.gather(*following, return_exceptions=True)
