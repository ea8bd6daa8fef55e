"""``gristmill batches ...``."""
# ruff: noqa: PLC0415 - see running.

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import ExitCode, of_batches
from gristmill.cli.output import counted, print_text, say
from gristmill.domain.failures import FailureCategory

if TYPE_CHECKING:
    from gristmill.domain.batch import Batch
    from gristmill.engine.core import Core
    from gristmill.insights.batches import BatchReport, Findings

app = typer.Typer(help="Look at batches, and retry, cancel, seal or clean them up.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    limit: Limit = 20,
    after: arguments.Cursor = None,
    as_json: arguments.Json = False,
) -> int:
    """List batches, newest first."""
    from gristmill.cli import batch_output

    async def look(core: "Core") -> None:
        from gristmill.insights import batches

        page = await batches.list_batches(core, limit=limit, after=after)
        now = core.clock.now()
        found = [(batch, batches.is_interrupted(batch, now=now)) for batch in page.batches]
        if as_json:
            rows = [batch_output.batch_json(batch, interrupted=interrupted) for batch, interrupted in found]
            output.print_json({"batches": rows, "next": page.after})
        else:
            batch_output.print_list(found)
            output.print_next_page(page.after)

    with arguments.cursor_checked(after):
        running.run(context, look)
    return ExitCode.OK


@app.command()
def show(context: typer.Context, batch_id: arguments.BatchId, *, as_json: arguments.Json = False) -> int:
    """Show the status view of a batch."""
    from gristmill.cli import batch_output
    from gristmill.insights import batches

    report = running.run(context, partial(batches.report, batch_id=batch_id))
    if as_json:
        output.print_json(batch_output.report_json(report))
    else:
        batch_output.print_view(report)
    return ExitCode.OK


@app.command()
def watch(context: typer.Context, batch_id: arguments.BatchId, *, as_json: arguments.Json = False) -> int:
    """Follow a batch until it has ended; stopping that does not stop the batch."""
    from gristmill.cli import progress

    async def follow(core: "Core") -> "tuple[BatchReport, Findings]":
        from gristmill.insights import batches

        hinted = False

        async def hint(_batch: "Batch") -> None:
            nonlocal hinted
            if not hinted and not await batches.has_worker(core):
                say("No worker is at work on this. Start one: gristmill worker run-once")
                hinted = True

        await progress.follow(core, batch_id, on_look=hint)
        return await batches.report(core, batch_id), await batches.findings(core, batch_id)

    try:
        ended = running.run(context, follow)
    except running.Interruption as stop:
        stop.advice = "The batch is not touched by that."
        raise
    return _print_end(ended, as_json=as_json)


@app.command()
def results(
    context: typer.Context,
    batch_id: arguments.BatchId,
    *,
    status: Annotated[
        Literal["pending", "processing", "completed", "failed", "cancelled"] | None,
        typer.Option(help="Only items in this state."),
    ] = None,
    category: Annotated[FailureCategory | None, typer.Option(help="Only items with this error.")] = None,
    limit: Limit = 100,
    after: arguments.Cursor = None,
    as_json: arguments.Json = False,
) -> int:
    """List the items of a batch with what became of them."""
    from gristmill.cli import batch_output
    from gristmill.domain.record import RecordStatus
    from gristmill.insights import batches

    look = partial(
        batches.results,
        batch_id=batch_id,
        status=RecordStatus(status) if status else None,
        category=category,
        limit=limit,
        after=after,
    )
    with arguments.cursor_checked(after):
        page = running.run(context, look)
    if as_json:
        rows = [batch_output.record_json(record) for record in page.records]
        output.print_json({"batch_id": batch_id, "results": rows, "next": page.after})
    else:
        batch_output.print_records(page.records)
        output.print_next_page(page.after)
    return ExitCode.OK


@app.command()
def errors(context: typer.Context, batch_id: arguments.BatchId, *, as_json: arguments.Json = False) -> int:
    """Show the errors of a batch by category, each with the command that retries it."""
    from gristmill.cli import batch_output
    from gristmill.insights import batches

    report = running.run(context, partial(batches.report, batch_id=batch_id))
    if as_json:
        groups = batch_output.errors_json(batch_id, report.errors)
        output.print_json({"batch_id": batch_id, "errors": groups, "next": None})
    else:
        batch_output.print_errors(batch_id, report.errors)
    return ExitCode.OK


@app.command()
def retry(
    context: typer.Context,
    batch_id: arguments.BatchId,
    *,
    category: Annotated[
        list[FailureCategory] | None, typer.Option(help="Only items with this error. Can be repeated.")
    ] = None,
    include_permanent: Annotated[
        bool,
        typer.Option(
            "--include-permanent", help="Also errors that come again unless the file or a setting changed."
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Work until the batch has ended, or leave it to a worker."),
    ] = True,
    as_json: arguments.Json = False,
) -> int:
    """Run failed items of a batch again."""
    from gristmill.cli import batch_output, progress

    async def run(core: "Core") -> "tuple[int, BatchReport, Findings]":
        from gristmill.commands import batches as commands
        from gristmill.commands import ingest
        from gristmill.insights import batches

        async with progress.beside(core) as show_progress:
            retried = await commands.retry_failed(
                core, batch_id, categories=category or None, permanent=include_permanent
            )
            if retried and wait:
                show_progress(batch_id)
                await ingest.work_on(core, batch_id)
        report = await batches.report(core, batch_id)
        return retried, report, await batches.findings(core, batch_id)

    try:
        retried, report, found = running.run(context, run)
    except running.Interruption as stop:
        stop.advice = "What is done is kept. Go on with:\n  gristmill worker run-once"
        raise
    if as_json:
        output.print_json(batch_output.report_json(report) | {"retried": retried})
    elif retried and not wait:
        print_text(
            f"{counted(retried, 'item')} wait to be run again. Work on them: gristmill worker run-once"
        )
    else:
        _say_retried(retried, report)
        batch_output.print_report(report, found)
        batch_output.print_next(batch_output.retry_steps(report))
    return of_batches([report.view.computed_status]) if wait else ExitCode.OK


def _say_retried(retried: int, report: "BatchReport") -> None:
    if retried:
        say(f"{counted(retried, 'item')} ran again.")
    elif report.errors:
        say("Nothing was run again: none of the failed items is of these categories, or their errors are")
        say("permanent and --include-permanent was not given.")
    else:
        say("Nothing was run again: no item has failed.")


@app.command()
def cancel(context: typer.Context, batch_id: arguments.BatchId, *, as_json: arguments.Json = False) -> int:
    """Cancel what a batch has not ended; what is done stays."""
    from gristmill.cli import batch_output

    async def run(core: "Core") -> "tuple[int, BatchReport]":
        from gristmill.commands import batches as commands
        from gristmill.insights import batches

        return await commands.cancel(core, batch_id), await batches.report(core, batch_id)

    cancelled, report = running.run(context, run)
    if as_json:
        output.print_json(batch_output.report_json(report) | {"cancelled": cancelled})
    else:
        print_text(f"{counted(cancelled, 'item')} cancelled. {batch_output.counts_line(report.view)}.")
    return ExitCode.OK


@app.command()
def seal(context: typer.Context, batch_id: arguments.BatchId, *, as_json: arguments.Json = False) -> int:
    """Declare that a batch is complete with the items it has: after an interruption, or a loss."""
    from gristmill.cli import batch_output

    async def run(core: "Core") -> "BatchReport":
        from gristmill.commands import batches as commands
        from gristmill.insights import batches

        await commands.seal(core, batch_id)
        return await batches.report(core, batch_id)

    report = running.run(context, run)
    if as_json:
        output.print_json(batch_output.report_json(report))
        return ExitCode.OK
    print_text(f"Batch {batch_id} is sealed with {counted(report.view.total_files, 'file')}.")
    if not report.batch.ended:
        batch_output.print_next([("Work on it", "gristmill worker run-once")])
    return ExitCode.OK


@app.command()
def cleanup(
    context: typer.Context,
    *,
    older_than: Annotated[
        timedelta,
        typer.Option(
            parser=arguments.duration,
            metavar="AGE",
            show_default="30d",
            help="Only batches that ended longer ago, like 12h or 2w.",
        ),
    ] = timedelta(days=30),
    yes: Annotated[bool, typer.Option("--yes", help="Really delete; otherwise it is only counted.")] = False,
    as_json: arguments.Json = False,
) -> int:
    """Delete the records of batches that ended long ago; documents stay."""
    from gristmill.commands import batches as commands

    found = running.run(context, partial(commands.cleanup, older_than=older_than, apply=yes))
    if as_json:
        output.print_json({"batches": found.batches, "records": found.records, "deleted": yes})
        return ExitCode.OK
    batches = "1 batch" if found.batches == 1 else f"{found.batches:,} batches"
    verb = "Deleted" if yes else "Would delete"
    print_text(f"{verb} {batches} with {counted(found.records, 'record')}; documents stay.")
    if found.batches and not yes:
        print_text("Nothing was deleted yet: add --yes to do it.")
    return ExitCode.OK


def _print_end(ended: "tuple[BatchReport, Findings]", *, as_json: bool) -> int:
    from gristmill.cli import batch_output

    report, found = ended
    if as_json:
        output.print_json(batch_output.report_json(report))
    else:
        batch_output.print_report(report, found)
        batch_output.print_next(batch_output.retry_steps(report))
    return of_batches([report.view.computed_status])
