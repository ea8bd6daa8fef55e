"""``gristmill stores ...``: the databases behind an installation, one or two."""
# ruff: noqa: PLC0415 - see running.

from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.cli import arguments, output, running, stores_output
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.output import print_text

if TYPE_CHECKING:
    from gristmill.commands.copying import Copied
    from gristmill.commands.stores import Reconciled
    from gristmill.databases import Apart, Needs
    from gristmill.insights.conflicts import Listed
    from gristmill.insights.stores import StoresStatus
    from gristmill.insights.verifying import Verification
    from gristmill.ports.database import Database, ReplicatedDatabase
    from gristmill.ports.failover import Pair

app = typer.Typer(
    help="Look after the databases: one, or two that stand in for each other.", no_args_is_help=True
)


def _needs(context: typer.Context) -> "Needs":
    settings = running.settings_of(context)
    from gristmill.databases import Needs

    return Needs(settings)


@app.command()
def status(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Show each database: its state, and what it holds alone. Exits with 4 if none answers."""
    needs = _needs(context)
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.insights import stores

    patience = stores.Patience(probe=needs.settings.failover_probe_seconds)

    async def look(apart: "Apart[Database]") -> "StoresStatus":
        return await stores.status(apart.databases, clock=needs.clock, patience=patience)

    found = loop.run(databases.each(needs), look)
    if as_json:
        output.print_json(stores_output.status_json(found))
    else:
        stores_output.print_status(found)
    return ExitCode.OK if found.serves else ExitCode.TRY_AGAIN


@app.command()
def reconcile(
    context: typer.Context,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Send all rows again, not only those owed: heals what `verify` found."),
    ] = False,
    as_json: arguments.Json = False,
) -> int:
    """Bring what each database owes to the other one, now. Exits with 1 if it cannot be finished."""
    needs = _needs(context)
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.commands import stores

    async def work(pair: "Pair") -> "Reconciled":
        return await stores.reconcile(pair, everything=everything)

    found = loop.run(databases.pair(needs), work)
    if as_json:
        output.print_json(stores_output.reconciled_json(found))
    else:
        stores_output.print_reconciled(found)
    return ExitCode.OK if found.done else ExitCode.FAILED


@app.command()
def verify(
    context: typer.Context,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Print no more than so many differences.")
    ] = 100,
    as_json: arguments.Json = False,
) -> int:
    """Compare both databases row by row and vector by vector. Exits with 1 if they differ."""
    needs = _needs(context)
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.insights import verifying

    async def work(pair: "Pair") -> "Verification":
        await pair.reconcile()
        return await verifying.verify(*pair.databases, shown=limit)

    found = loop.run(databases.pair(needs), work)
    if as_json:
        output.print_json(stores_output.verification_json(found))
    else:
        stores_output.print_verification(found)
    return ExitCode.FAILED if found.count else ExitCode.OK


@app.command()
def conflicts(
    context: typer.Context,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000, metavar="N", help="Show no more than so many.")
    ] = 20,
    as_json: arguments.Json = False,
) -> int:
    """List writes to documents that lost to later ones of the other database, newest first.

    Two processes that each see only one database may both edit, ingest or delete a document; the later write stays.
    """
    needs = _needs(context)
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.insights import conflicts as insights
    from gristmill.insights.stores import Patience

    patience = Patience(probe=needs.settings.failover_probe_seconds)

    async def look(apart: "Apart[Database]") -> "Listed":
        return await insights.conflicts(apart.databases, limit=limit, patience=patience)

    found = loop.run(databases.each(needs), look)
    if as_json:
        output.print_json(stores_output.conflicts_json(found))
    else:
        stores_output.print_conflicts(found)
    return ExitCode.OK if found.kept else ExitCode.TRY_AGAIN


@app.command()
def copy(
    context: typer.Context,
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATABASE",
            parser=arguments.text,
            help="sqlite, postgresql or qdrant as they are set, or a file or URL.",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DATABASE",
            parser=arguments.text,
            help="The same; it must be empty, or cut short before.",
        ),
    ],
    as_json: arguments.Json = False,
) -> int:
    """Copy everything from one database to another, read it back and compare. Exits with 1 if anything differs.

    Stop every worker first. The source is only read. Cut short, the same command goes on.
    """
    needs = _needs(context)
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.commands import copying

    ends = databases.Apart(
        [databases.at(source, needs, create=False), databases.at(target, needs, create=True)]
    )

    async def work(apart: "Apart[ReplicatedDatabase]") -> "Copied":
        for each in apart.databases:
            await each.open()
        progress = stores_output.CopyProgress()
        one, two = apart.databases
        return await copying.copy(one, two, clock=needs.clock, on_rows=progress.show)

    try:
        found = loop.run(ends, work)
    except running.Interruption as stop:
        stop.advice = "What was copied is kept. The same command goes on."
        raise
    if as_json:
        output.print_json(stores_output.copied_json(found))
    else:
        stores_output.print_copied(found)
        if not found.count:
            print_text("Set the new database, and keep the old one until you have looked at it.")
    return ExitCode.FAILED if found.count else ExitCode.OK
