"""Writing results: one JSON document, or text whose names cannot disturb the terminal."""

import json
import os
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import IO, Any

_WHOLE = {"batch", "document"}  # Columns of ids, which are copied from the screen.
_TURNS_TEXT_AROUND = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_LAYOUT = {"\n": "\n", "\t": "    ", "\r": "", "\f": "\n", "\v": "\n"}


class OutputClosedError(Exception):
    """Nobody reads our output any more, as after `| head`."""


def print_json(document: Mapping[str, Any]) -> None:
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    write(json.dumps(jsonable(document), ensure_ascii=ascii_only, indent=2))


def print_text(text: str = "") -> None:
    write(text)


def write(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201 - printing is what this module is for.
    except BrokenPipeError as error:
        raise OutputClosedError from error


def say(text: str) -> None:
    """Write a line to stderr; when nobody reads it, the work goes on."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - printing is what this module is for.
    except (BrokenPipeError, ValueError):
        silence(sys.stderr)


def silence(stream: IO[str]) -> None:
    """Send what is still to be written to nowhere, so that the interpreter ends without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def jsonable(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of value.
    """A value as JSON has it: ids, times and states as text, dataclasses as objects."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): jsonable(each) for key, each in value.items()}
        case list() | tuple():
            return [jsonable(each) for each in value]
        case _ if is_dataclass(value):
            return {each.name: jsonable(getattr(value, each.name)) for each in fields(value)}
        case _:
            return str(value)


def safe(text: object) -> str:
    """The text on one line, with everything escaped that a terminal would obey instead of show."""
    return "".join(_escaped(character) if _disturbs(character) else character for character in str(text))


def safe_lines(text: str) -> str:
    """``safe`` for a text whose line ends and tabs are meant; character by character, so also for its parts."""
    return "".join(_LAYOUT[character] if character in _LAYOUT else safe(character) for character in text)


def _disturbs(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _TURNS_TEXT_AROUND


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def command(arguments: Iterable[str]) -> str:
    """A command line that can be pasted into a shell, whatever its arguments hold."""
    return " ".join(_quoted(argument) for argument in arguments)


def _quoted(argument: str) -> str:
    if not any(_disturbs(character) for character in argument):
        return shlex.quote(argument)
    inside = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(argument)
    )
    return f"$'{inside}'"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; on a terminal long cells fold, elsewhere nothing does."""
    cells = [[safe("" if cell is None else cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_folding(headings, cells)
        return
    for line in _aligned([[heading.upper() for heading in headings], *cells]):
        write(line)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print_folding(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe or --json needs no Rich.
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading.upper(), overflow="fold", no_wrap=heading in _WHOLE)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def print_next_page(cursor: str | None) -> None:
    if cursor is not None:
        say(f"There are more: add --after {shlex.quote(cursor)}")


def when(time: datetime | None) -> str:
    """A time in the user's zone."""
    return "-" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
