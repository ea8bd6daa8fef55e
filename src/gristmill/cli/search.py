"""``gristmill search``."""
# ruff: noqa: PLC0415 - see running.

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.output import print_text, safe, say

if TYPE_CHECKING:
    from rich.text import Text

    from gristmill.insights.search import Answer, Found


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(parser=arguments.text, metavar="QUERY", help="What to look for.")],
    *,
    search_type: Annotated[
        Literal["hybrid", "vector", "text"],
        typer.Option("--type", help="By words and meaning, by meaning alone, or by words alone."),
    ] = "hybrid",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most this many passages.")] = 10,
    collection: Annotated[
        str | None,
        typer.Option(
            parser=arguments.name, metavar="NAME", help="Collection to search, else the one of the settings."
        ),
    ] = None,
    filters: Annotated[
        list[arguments.Pair] | None,
        typer.Option(
            "--filter",
            parser=arguments.pair,
            metavar="KEY=VALUE",
            help="Only documents with this metadata. Repeated: every key must match, any value of one key.",
        ),
    ] = None,
    as_json: arguments.Json = False,
) -> int:
    """Search the documents of a collection."""
    settings = running.settings_of(context)
    from gristmill.insights import search as insights

    request = insights.SearchRequest(
        query=query,
        type=insights.SearchType(search_type),
        limit=limit,
        collection=collection or settings.collection,
        filters=arguments.grouped(filters),
    )
    answer = running.run(context, partial(insights.search, request=request))
    if as_json:
        output.print_json(answer.as_json() | {"next": None})
    else:
        _print_answer(answer)
    return ExitCode.OK


def _print_answer(answer: "Answer") -> None:
    if answer.reason:
        say(f"Note: {safe(answer.reason)}")
    if answer.instead:
        say(f"Note: Nothing has these words. Looked for instead: {safe(', '.join(answer.instead))}.")
    if not answer.results:
        print_text("Nothing was found. Other words, or --type vector, may help.")
    show = _print_highlighted if sys.stdout.isatty() else _print_plain
    for rank, found in enumerate(answer.results, start=1):
        show(rank, found)


def _heading(rank: int, found: "Found") -> str:
    hit = found.hit
    title = f"{safe(hit.title)}  " if hit.title else ""
    return f"{rank}. {title}{safe(hit.source)}"


def _place(found: "Found") -> str:
    hit = found.hit
    place = f"page {hit.page}" if hit.page is not None else f"characters {hit.start}-{hit.end}"
    heading = [safe(hit.heading)] if hit.heading else []
    return "   " + ", ".join([place, *heading, f"score {found.score:.3f}"])


def _print_plain(rank: int, found: "Found") -> None:
    before, after = _ellipses(found)
    passage = output.safe_lines(before + found.marked.text + after).replace("\n", "\n   ")
    print_text(f"{_heading(rank, found)}\n{_place(found)}\n   {passage}\n")


def _ellipses(found: "Found") -> tuple[str, str]:
    return "... " if found.marked.cut_before else "", " ..." if found.marked.cut_after else ""


def _print_highlighted(rank: int, found: "Found") -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(_heading(rank, found), style="bold", overflow="fold"))
    console.print(Text(_place(found), style="dim", overflow="fold"))
    console.print(Padding(_passage(found), (0, 0, 1, 3)))


def _passage(found: "Found") -> "Text":
    """The passage in pieces, because escaping a character moves every span after it."""
    from rich.text import Text

    before, after = _ellipses(found)
    text, passage, position = found.marked.text, Text(before, overflow="fold"), 0
    for start, end in found.marked.spans:
        passage.append(output.safe_lines(text[position:start]))
        passage.append(output.safe_lines(text[start:end]), style="bold yellow")
        position = end
    passage.append(output.safe_lines(text[position:]) + after)
    return passage
