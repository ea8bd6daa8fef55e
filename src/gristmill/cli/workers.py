"""``gristmill worker start`` and ``worker run-once``."""
# ruff: noqa: PLC0415 - see running.

from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import of_batches
from gristmill.cli.output import print_text

if TYPE_CHECKING:
    from gristmill.domain.batch import BatchStatusView
    from gristmill.engine.core import Core
    from gristmill.ports.errors import StoreUnavailableError

worker = typer.Typer(help="Work on what waits.", no_args_is_help=True)


@worker.command()
def start(
    context: typer.Context, *, workers: arguments.Workers = None, _as_json: arguments.Json = False
) -> None:
    """Work on whatever comes, until stopped by Ctrl-C or SIGTERM; outages of the database are waited out."""
    running.set_flag(context, "workers", workers)
    settings = running.settings_of(context)
    output.say(
        f"Worker started, pool processes: {settings.workers}. Ctrl-C stops it; what is in hand goes back."
    )
    try:
        running.run(context, _work_for_ever)
    except running.Interruption as stop:
        stop.advice = "What was in hand waits for the next worker:\n  gristmill worker start"
        raise


async def _work_for_ever(core: "Core") -> None:
    from gristmill.commands import ingest

    def say(error: "StoreUnavailableError", pause: float) -> None:
        output.say(f"{error} Next try in {pause:.0f} s.")

    await ingest.work_for_ever(core, on_outage=say)


@worker.command("run-once")
def run_once(
    context: typer.Context,
    *,
    max_items: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after so many items, whatever still waits.")
    ] = None,
    workers: arguments.Workers = None,
    as_json: arguments.Json = False,
) -> int:
    """Work on whatever waits, retries included, until nothing is due."""
    running.set_flag(context, "workers", workers)
    from gristmill.cli import batch_output

    async def work(core: "Core") -> "list[BatchStatusView]":
        return await _work(core, max_items)

    try:
        views = running.run(context, work)
    except running.Interruption as stop:
        stop.advice = "What is done is kept. Go on with:\n  gristmill worker run-once"
        raise
    if as_json:
        output.print_json({"batches": [view.as_json() for view in views], "next": None})
    elif not views:
        print_text("Nothing waits.")
    for view in [] if as_json else views:
        status = batch_output.status_words(view.computed_status)
        print_text(f"Batch {view.batch_id}: {status}. {batch_output.counts_line(view)}.")
    return of_batches(view.computed_status for view in views)


async def _work(core: "Core", max_items: int | None) -> "list[BatchStatusView]":
    from gristmill.cli import progress
    from gristmill.commands import ingest
    from gristmill.insights import batches

    waiting = await batches.open_batches(core)
    async with progress.beside(core) as show:
        if waiting:
            show(waiting[-1].batch_id)
        await ingest.work_on(core, max_items=max_items)
    return [(await batches.report(core, batch.batch_id)).view for batch in waiting]
