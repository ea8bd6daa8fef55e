"""Options that several commands have, and how their text becomes values."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

_LONGEST_NAME = 200
_LONGEST = timedelta(days=36_500)
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def text(value: str) -> str:
    """A text that every database stores. Raises ValueError."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it is not UTF-8") from error
    if "\0" in value:
        raise ValueError("it holds a zero byte")
    return value


def name(value: str) -> str:
    if not value.strip() or len(value) > _LONGEST_NAME:
        raise ValueError(f"a name has 1 to {_LONGEST_NAME} characters")
    return text(value)


@dataclass(frozen=True, slots=True)
class Pair:
    key: str
    value: str


def pair(value: str) -> Pair:
    key, equals, given = text(value).partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{value!r} is not of the form key=value")
    return Pair(key.strip(), given)


def grouped(pairs: Sequence[Pair] | None) -> dict[str, list[str]]:
    """The values of each key, in the order given."""
    found: dict[str, list[str]] = {}
    for each in pairs or ():
        found.setdefault(each.key, []).append(each.value)
    return found


def duration(value: str | timedelta) -> timedelta:
    if isinstance(value, timedelta):  # A default comes by here too.
        return value
    match = _DURATION.fullmatch(value.strip().lower())
    if match is None:
        raise ValueError(f"{value!r} is not a duration like 30d, 12h, 90m or 2w")
    try:
        found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        found = timedelta.max
    if found > _LONGEST:
        raise ValueError(f"{value!r} is over {_LONGEST.days} days")
    return found


def uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a UUID like 0f8fad5b-d9cb-469f-a165-70867728950e") from None


@contextmanager
def cursor_checked(after: str | None) -> Iterator[None]:
    """A cursor that no page gave is wrong usage; databases say so by ValueError."""
    try:
        yield
    except ValueError as error:
        if after is None:
            raise
        raise typer.BadParameter(str(error), param_hint="--after") from error


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=256, metavar="N", help="Pool processes, else as the settings say."),
]
BatchId = Annotated[
    UUID, typer.Argument(metavar="ID", parser=uuid, help="The batch, as `batches list` shows it.")
]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", parser=text, help="Go on after this page: its `next`.")
]
