"""Writes the reference pages that come from the code itself; ``--check`` exits 1 if one is out of date."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from gristmill.cli.main import app
from gristmill.domain.batch import BatchStatusView
from gristmill.domain.failures import FailureCategory, remedy
from gristmill.domain.moves import MOVES
from gristmill.settings import PREFIX, UNPREFIXED, Settings
from gristmill.stores.sql import database  # noqa: F401 - with it come all tables.
from gristmill.stores.sql.tables import metadata

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
REMEDIES = {
    "never": "fails at once; only `batches retry --include-permanent` takes it again",
    "retry": "tried again, up to `max_retries` times, with growing pauses",
    "snooze": "tried again later; costs no attempt",
}


def settings_page() -> str:
    rows = "\n".join(
        f"| `{name}` | `{PREFIX}{name.upper()}` | {shown_default(name, field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    return f"""# Settings

A flag beats the environment, the environment beats `gristmill.toml`, and that beats the default. The file is
looked for at `GRISTMILL_CONFIG`, then in the working folder, then in the home. `gristmill config show` prints
every value in force with its origin; `gristmill config check` says what is wrong. {plain_names()} are also read
without `{PREFIX}` before their names; with it beats without.

| in gristmill.toml | environment | default | what it is |
|---|---|---|---|
{rows}
"""


def plain_names() -> str:
    names = [f"`{name.upper()}`" for name in UNPREFIXED]
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def shown_default(name: str, field: Any) -> str:
    special = {"home": "the platform's user data folder", "workers": "number of cores"}
    if name in special:
        return special[name]
    default = field.default
    return f"`{getattr(default, 'value', default)}`"


def states_page() -> str:
    moves = "\n".join(f"    {start} --> {end} : {move}" for (start, move), end in MOVES.items())
    categories = "\n".join(
        f"| `{each}` | {REMEDIES[remedy(each).value]} |"
        for each in FailureCategory
        if not each.startswith(("provider", "store"))
    )
    columns = "\n".join(f"- `{name}`" for name in BatchStatusView.__dataclass_fields__)
    return f"""# States, failures, and the status view

## A record's moves

Every move a processing record can make; anything else is refused.

```mermaid
stateDiagram-v2
    [*] --> pending
{moves}
```

`lease_end` and `retry` lead to `failed` instead once the attempts are spent.

## Failure categories

| category | what happens |
|---|---|
{categories}

## The columns of `batches show`

{columns}
"""


def cli_page() -> str:
    root = typer.main.get_command(app)
    body = "\n".join(command_section(name, command) for name, command in commands(root, "gristmill"))
    return f"""# Commands

Every command takes `--json` and then prints exactly one JSON document on stdout; progress and logs go to stderr.

| exit code | meaning |
|---|---|
| 0 | everything completed, or accepted with `--no-wait` |
| 1 | failed, or `doctor` found something |
| 2 | wrong usage; nothing was created |
| 3 | completed with errors |
| 4 | a temporary outage: try again |
| 5 | cancelled |
| 130, 143 | interrupted; the message says how to resume |

{body}"""


def tables_page() -> str:
    body = "\n".join(
        table_section(table) for table in sorted(metadata.tables.values(), key=lambda each: each.name)
    )
    return f"""# Tables of SQLite and PostgreSQL

The same on both ([what they hold](databases.md)). Ids are 16 bytes, times are integer microseconds since 1970, vectors are
float32 bytes. `no` is a number of this database alone. `gristmill db` shows and moves the schema.

{body}"""


def table_section(table: Any) -> str:
    columns = "\n".join(
        f"| `{each.name}` | {'key' if each.primary_key else 'may be empty' if each.nullable else ''} |"
        for each in table.columns
    )
    indexes = "".join(
        f"\nIndex `{each.name}`: {', '.join(f'`{part}`' for part in index_parts(each))}.\n"
        for each in sorted(table.indexes, key=lambda each: each.name)
    )
    return f"## `{table.name}`\n\n| column | |\n|---|---|\n{columns}\n{indexes}"


def index_parts(index: Any) -> list[str]:
    return [str(part).removeprefix(f"{index.table.name}.") for part in index.expressions]


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for child_name, child in children.items():
        yield from commands(child, f"{name} {child_name}")


def command_section(name: str, command: Any) -> str:
    arguments = " ".join(
        parameter_usage(each) for each in command.params if each.param_type_name == "argument"
    )
    options = "\n".join(
        f"| `{', '.join((*each.opts, *each.secondary_opts))}` | {each.help or ''} |"
        for each in command.params
        if each.param_type_name == "option" and each.name != "help"
    )
    table = f"\n| option | what it does |\n|---|---|\n{options}\n" if options else ""
    description = " ".join((command.help or "").split())
    return f"## `{' '.join(filter(None, (name, arguments)))}`\n\n{description}\n{table}"


def parameter_usage(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper().strip("[].")
    return f"{name}..." if parameter.nargs == -1 else name


PAGES = {"settings.md": settings_page, "states.md": states_page, "cli.md": cli_page, "tables.md": tables_page}


def main(arguments: list[str]) -> int:
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"Out of date: {', '.join(stale)}. Run: python scripts/make_docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
