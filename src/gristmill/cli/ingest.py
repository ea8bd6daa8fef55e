"""``gristmill ingest``."""
# ruff: noqa: PLC0415 - see running.

from typing import Annotated
from uuid import UUID

import typer

from gristmill.cli import arguments, running

Paths = Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders to ingest.")]
Collection = Annotated[
    str | None,
    typer.Option(
        parser=arguments.name, metavar="NAME", help="Collection to put them in, else the one of the settings."
    ),
]
Pattern = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Only files like '*.pdf' or 'reports/**/*.md'. Can be repeated."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="No files or folders like this. Can be repeated.")
]
Meta = Annotated[
    list[arguments.Pair] | None,
    typer.Option(
        parser=arguments.pair,
        metavar="KEY=VALUE",
        help="Stored with each document, for `search --filter`. Can be repeated.",
    ),
]
BatchId = Annotated[
    UUID | None,
    typer.Option(
        parser=arguments.uuid, metavar="UUID", help="Name the batch, or go on with an interrupted one."
    ),
]
Name = Annotated[
    str | None, typer.Option(parser=arguments.name, metavar="TEXT", help="What to call the batch.")
]
Priority = Annotated[
    int, typer.Option(min=-1_000, max=1_000, help="Higher comes first; 1 is worth 10 minutes of age.")
]
MaxErrorRate = Annotated[
    float | None,
    typer.Option(
        min=0, max=100, metavar="PCT", help="Stop when a larger share failed, once 20 items have ended."
    ),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete documents whose file is gone from the given folders.")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Also make anew what an older extractor or chunker made.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be ingested and what skipped.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Work until the batch has ended, or leave it to a worker.")
]


def ingest(
    context: typer.Context,
    paths: Paths,
    *,
    collection: Collection = None,
    pattern: Pattern = None,
    exclude: Exclude = None,
    meta: Meta = None,
    batch_id: BatchId = None,
    name: Name = None,
    priority: Priority = 0,
    max_error_rate: MaxErrorRate = None,
    prune: Prune = False,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    wait: Wait = True,
    workers: arguments.Workers = None,
    as_json: arguments.Json = False,
) -> int:
    """Ingest files and folders as one batch.

    The same command with the --batch-id of an interrupted batch goes on where it stopped.
    """
    running.set_flag(context, "workers", workers)
    settings = running.settings_of(context)
    from gristmill.cli import ingest_work
    from gristmill.commands.ingest import IngestRequest, check_paths
    from gristmill.pipeline.select import Selection

    request = IngestRequest(
        paths=paths,
        collection=collection or settings.collection,
        selection=Selection(tuple(pattern or ()), tuple(exclude or ())),
        metadata={key: values[-1] for key, values in arguments.grouped(meta).items()},
        batch_id=batch_id,
        name=name,
        priority=priority,
        max_error_rate=max_error_rate,
        refresh=refresh,
    )
    if dry_run:
        return ingest_work.dry_run(request, as_json=as_json)
    check_paths(request.paths)
    command = ingest_work.Command(request, wait=wait, prune=prune)
    try:
        finished = running.run(context, command.run)
    except running.Interruption as stop:
        stop.advice = command.advice()
        raise
    return finished.print(as_json=as_json)
