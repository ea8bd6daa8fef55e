"""``gristmill db ...``: the schema of the SQL database."""
# ruff: noqa: PLC0415 - see running.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.output import print_text, safe
from gristmill.ports.errors import ConfigurationError

if TYPE_CHECKING:
    from gristmill.ports.schema import Schema

app = typer.Typer(help="Look at and move the schema of the SQL database.", no_args_is_help=True)


class RevisionError(ConfigurationError):
    """A revision that the schema cannot go back to; nothing was changed."""


def _schema(context: typer.Context) -> "Schema":
    settings = running.settings_of(context)
    from gristmill import databases

    return databases.schema(settings)


@app.command()
def current(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Show the schema revision of the database and the newest that this program knows."""
    schema = _schema(context)
    found, newest = schema.current(), schema.revisions[-1]
    if as_json:
        output.print_json(
            {"database": schema.where, "revision": found, "newest": newest, "up_to_date": found == newest}
        )
        return ExitCode.OK
    print_text(f"Database  {safe(schema.where)}")
    print_text(f"Revision  {found or 'none: there are no tables yet'}")
    print_text(f"Newest    {newest}")
    if found != newest:
        print_text("Bring it up to date: gristmill db upgrade")
    return ExitCode.OK


@app.command()
def upgrade(context: typer.Context, *, as_json: arguments.Json = False) -> int:
    """Create the tables, or bring an older schema up to date; nothing stored is lost."""
    schema = _schema(context)
    before = schema.current()
    schema.upgrade()
    after = schema.current()
    if as_json:
        output.print_json({"database": schema.where, "from": before, "to": after})
    elif before == after:
        print_text(f"{safe(schema.where)} is at revision {after} already.")
    else:
        print_text(f"{safe(schema.where)} went from revision {before or 'none'} to {after}.")
    return ExitCode.OK


@app.command()
def downgrade(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(help="The revision to go back to; without one, one step.")
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Really do it; otherwise it is only described.")] = False,
    as_json: arguments.Json = False,
) -> int:
    """Take the schema back for an older version of Gristmill; says what that loses."""
    schema = _schema(context)
    before = schema.current()
    target = _target(schema, before, revision)
    lost = schema.lost(str(before), target)
    if yes:
        schema.downgrade(target)
    if as_json:
        output.print_json(
            {"database": schema.where, "from": before, "to": target, "lost": lost, "downgraded": yes}
        )
    else:
        _print_downgrade(schema.where, target, lost, done=yes)
    return ExitCode.OK


def _target(schema: "Schema", before: str | None, wanted: str | None) -> str:
    older = [each for each in schema.revisions if before is not None and each < before]
    if not older:
        raise RevisionError(
            f"{schema.where} is at {before or 'no revision'}: there is none before it. To start anew, delete the database."
        )
    target = wanted or older[-1]
    if target not in older:
        raise RevisionError(
            f"'{target}' is no revision before {before}, where {schema.where} is. Choose one of {', '.join(older)}."
        )
    return target


def _print_downgrade(where: str, target: str, lost: Sequence[str], *, done: bool) -> None:
    verb = "went" if done else "would go"
    print_text(f"{safe(where)} {verb} back to revision {target}. {'Lost' if done else 'It would lose'}:")
    for each in lost:
        print_text(f"  - {each}")
    if done:
        print_text("Install the older Gristmill now: with AUTO_MIGRATE on, this one goes forward again.")
    else:
        print_text("Stop every worker and server on this database and make a backup first.")
        print_text("Nothing was changed yet: add --yes to do it.")
