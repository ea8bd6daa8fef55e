"""The ``gristmill`` command: what it offers."""

import gc
import os
import sys
from typing import Annotated, Literal

import typer

from gristmill import __version__
from gristmill.cli import batches, documents, endings, operations, output, schema, stores, workers
from gristmill.cli.ingest import ingest
from gristmill.cli.running import Invocation
from gristmill.cli.search import search
from gristmill.engine.collecting import OBJECTS_BETWEEN_COLLECTIONS

app = typer.Typer(
    name="gristmill",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    epilog="Settings also come from GRISTMILL_ variables and gristmill.toml; `gristmill config show` lists them.",
)
app.command()(ingest)
app.command()(search)
app.add_typer(batches.app, name="batches")
app.add_typer(documents.app, name="documents")
app.command()(operations.stats)
app.command()(operations.doctor)
app.add_typer(operations.config, name="config")
app.add_typer(workers.worker, name="worker")
app.add_typer(stores.app, name="stores")
app.add_typer(schema.app, name="db")


def _folder(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    return value


def _print_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it so.
    if value:
        output.print_text(f"gristmill {__version__}")
        raise typer.Exit


@app.callback()
def gristmill(
    context: typer.Context,
    *,
    home: Annotated[
        str | None,
        typer.Option(
            parser=_folder, metavar="FOLDER", help="Folder of the database and what derives from it."
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="What the log on stderr shows; debug also shows tracebacks."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn piles of files into something you can search, in durable batches that lose nothing."""
    given = {"home": home, "log_level": log_level}
    context.obj = Invocation({name: value for name, value in given.items() if value is not None})


def run() -> None:
    """The entry point."""
    # Loading modules makes hundreds of thousands of objects, which stay: they need not be searched so often.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    _mend_streams()
    endings.listen_to_signals()
    code = call(sys.argv[1:])
    # On its way out Python would search all of them again, which takes a fifth of a short command.
    gc.freeze()
    sys.exit(code)


def call(given: list[str]) -> int:
    """Run one command line; returns its exit code."""
    return endings.finish(
        lambda: app(given, prog_name="gristmill", standalone_mode=False), as_json=_wants_json(given)
    )


def _mend_streams() -> None:
    """Names that the terminal's encoding cannot show are escaped; a closed stream is nowhere, not an error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end.
        else:
            stream.reconfigure(errors="backslashreplace")


def _wants_json(given: list[str]) -> bool:
    """Also known when the rest of the command line makes no sense."""
    options = given[: given.index("--")] if "--" in given else given
    return "--json" in options
