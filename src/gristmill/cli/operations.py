"""``gristmill stats``, ``doctor`` and ``config ...``."""
# ruff: noqa: PLC0415 - see running.

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.output import counted, print_text, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gristmill.databases import Apart
    from gristmill.engine.core import Core
    from gristmill.insights.problems import Problem
    from gristmill.ports.batches import Statistics
    from gristmill.ports.database import Database
    from gristmill.ports.documents import CollectionSummary
    from gristmill.settings import Settings

config = typer.Typer(help="Show the settings in force, and check them.", no_args_is_help=True)


def stats(
    context: typer.Context,
    *,
    since: Annotated[
        timedelta,
        typer.Option(
            parser=arguments.duration,
            metavar="AGE",
            show_default="30d",
            help="Only batches made since, like 30d or 12h.",
        ),
    ] = timedelta(days=30),
    as_json: arguments.Json = False,
) -> int:
    """Show figures of recent batches and of the collections."""

    async def look(core: "Core") -> "tuple[Statistics, Sequence[CollectionSummary]]":
        from gristmill.insights import batches, documents

        return await batches.statistics(core, since), await documents.collections(core)

    statistics, collections = running.run(context, look)
    if as_json:
        output.print_json(
            output.jsonable(statistics)
            | {"collections": [_collection_json(each) for each in collections], "next": None}
        )
    else:
        _print_statistics(statistics)
        _print_collections(collections)
    return ExitCode.OK


def doctor(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Look for problems; each with the command that mends it. Exits with 1 if there is any."""
    settings = running.settings_of(context)
    from gristmill.insights import doctor as insights
    from gristmill.ports.errors import GristmillError

    problems = insights.examine_home(settings)
    closed = False
    if len(settings.databases) > 1:
        found, closed = _examine_two(settings)
        problems += found
    if not closed and (settings.databases != ("sqlite",) or settings.database_path.exists()):
        try:
            problems += running.run(context, insights.examine)
        except GristmillError as error:
            problems.append(insights.unopened(settings, error))
    if as_json:
        output.print_json({"problems": problems, "next": None})
    else:
        _print_problems(problems)
    return ExitCode.FAILED if problems else ExitCode.OK


def _examine_two(settings: "Settings") -> "tuple[list[Problem], bool]":
    """What is wrong with them, and whether that keeps everything else from being looked at."""
    from gristmill import databases
    from gristmill.cli import loop
    from gristmill.insights import stores, stores_doctor

    needs = databases.Needs(settings)
    patience = stores.Patience(probe=settings.failover_probe_seconds)

    async def work(apart: "Apart[Database]") -> "tuple[list[Problem], bool]":
        async def look() -> stores.StoresStatus:
            return await stores.status(apart.databases, clock=needs.clock, patience=patience)

        problems, found = await stores_doctor.examine(look, now=needs.clock.now())
        refused = any(each.state is stores.State.REFUSED for each in found.databases)
        return problems, refused or not found.serves

    return loop.run(databases.each(needs), work)


@config.command("show")
def show_config(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Show every setting with its value and where it came from."""
    found = running.settings_of(context)
    from gristmill import settings

    values = settings.values(found, running.flags_of(context))
    if as_json:
        output.print_json({"settings": values, "file": settings.config_file(found.home), "next": None})
    else:
        rows = [(each.name, each.value, each.origin, each.description) for each in values]
        output.print_table(("setting", "value", "from", "meaning"), rows)
    return ExitCode.OK


@config.command("check")
def check_config(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Check the settings, and say which file they came from. Exits with 2 if one cannot work."""
    found = running.settings_of(context)
    from gristmill import settings

    file, unknown = settings.config_file(found.home), settings.unknown_variables()
    if as_json:
        output.print_json({"ok": True, "file": file, "unknown_variables": unknown})
        return ExitCode.OK
    print_text(f"The settings are valid. File: {safe(file or 'none')}")
    for variable in unknown:
        print_text(f"Variable {safe(variable)} is no setting and has no effect.")
    return ExitCode.OK


def _collection_json(summary: "CollectionSummary") -> dict[str, Any]:
    return {
        "name": summary.collection.name,
        "documents": summary.documents,
        "chunks": summary.chunks,
        "embedding": summary.collection.embedding.key,
    }


def _print_statistics(found: "Statistics") -> None:
    print_text(f"Since {output.when(found.since)}:")
    states = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in found.batches_by_status.items()
    )
    print_text(f"  batches        {found.batches:,}" + (f" ({states})" if states else ""))
    print_text(
        f"  items          {found.items:,}: {found.completed:,} completed, {found.failed:,} failed, "
        f"{found.cancelled:,} cancelled"
    )
    print_text(f"  success        {found.success_rate_percentage:.2f} %")
    if found.mean_seconds is not None:
        print_text(f"  mean time      {output.duration(found.mean_seconds)}")
    if found.items_per_hour is not None:
        print_text(f"  items an hour  {found.items_per_hour:,.0f}")
    for category, count in found.failures.items():
        print_text(f"  failed         {count:,} {category}")


def _print_collections(found: "Sequence[CollectionSummary]") -> None:
    if not found:
        print_text("\nThere are no collections yet. `gristmill ingest PATH` makes one.")
        return
    print_text()
    rows = [
        (each.collection.name, each.documents, each.chunks, each.collection.embedding.key) for each in found
    ]
    output.print_table(("collection", "documents", "chunks", "embedding"), rows)


def _print_problems(problems: "Sequence[Problem]") -> None:
    if not problems:
        print_text("No problem was found.")
    for problem in problems:
        since = f" (since {output.when(problem.since)})" if problem.since else ""
        print_text(f"Problem: {safe(problem.what)}{since}")
        print_text(f"  Why:   {safe(problem.why)}")
        print_text(f"  Mend:  {safe(problem.command)}\n")
    if problems:
        print_text(f"{counted(len(problems), 'problem')} found.")
