"""``gristmill documents ...``."""
# ruff: noqa: PLC0415 - see running.

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from gristmill.cli import arguments, output, running
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.output import counted, print_text, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gristmill.domain.document import Document, Hit
    from gristmill.insights.documents import DocumentDetails

app = typer.Typer(help="Look at documents, and delete them.", no_args_is_help=True)

DocumentId = Annotated[
    UUID,
    typer.Argument(metavar="ID", parser=arguments.uuid, help="The document, as `documents list` shows it."),
]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    collection: Annotated[
        str | None,
        typer.Option(parser=arguments.name, metavar="NAME", help="Only this collection, else all of them."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    after: arguments.Cursor = None,
    as_json: arguments.Json = False,
) -> int:
    """List documents by collection and source."""
    from gristmill.insights import documents

    look = partial(documents.list_documents, collection=collection, limit=limit, after=after)
    with arguments.cursor_checked(after):
        page = running.run(context, look)
    if as_json:
        rows = [document_json(document) for document in page.documents]
        output.print_json({"documents": rows, "next": page.after})
    elif page.documents:
        _print_table(page.documents)
        output.print_next_page(page.after)
    else:
        print_text("There are no documents yet. `gristmill ingest PATH` makes them.")
    return ExitCode.OK


@app.command()
def show(context: typer.Context, document_id: DocumentId, *, as_json: arguments.Json = False) -> int:
    """Show a document with its passages."""
    from gristmill.insights import documents

    details = running.run(context, partial(documents.show, document_id=document_id))
    if as_json:
        passages = [_passage_json(hit) for hit in details.chunks]
        output.print_json(document_json(details.document) | {"passages": passages})
    else:
        _print_details(details)
    return ExitCode.OK


@app.command()
def delete(
    context: typer.Context,
    document_ids: Annotated[
        list[UUID],
        typer.Argument(
            metavar="ID", parser=arguments.uuid, help="Documents, as `documents list` shows them."
        ),
    ],
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")
    ] = False,
    as_json: arguments.Json = False,
) -> int:
    """Delete documents with their passages; the files they came from stay."""
    from gristmill.commands import documents

    if not yes and not _confirmed(len(document_ids)):
        raise typer.Abort
    deleted = running.run(context, partial(documents.delete, document_ids=document_ids))
    if as_json:
        output.print_json({"deleted": deleted, "document_ids": document_ids})
    else:
        print_text(
            f"Deleted {counted(deleted, 'document')}. Their files stay; ingesting them brings them back."
        )
    return ExitCode.OK


def _confirmed(number: int) -> bool:
    """Ask on a terminal; elsewhere nobody can answer, which is wrong usage."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "Deleting needs --yes where there is no terminal to ask on.", param_hint="--yes"
        )
    return typer.confirm(f"Delete {counted(number, 'document')}?", err=True)


def document_json(document: "Document") -> dict[str, Any]:
    shown = (
        "document_id",
        "collection",
        "source",
        "title",
        "chunks",
        "version",
        "content_hash",
        "pipeline",
        "metadata",
        "created_at",
        "updated_at",
    )
    return {name: getattr(document, name) for name in shown}


def _passage_json(hit: "Hit") -> dict[str, Any]:
    return {
        "chunk_id": hit.chunk_id,
        "heading": hit.heading or None,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "text": hit.text,
    }


def _print_table(documents: "Sequence[Document]") -> None:
    output.print_table(
        ("document", "collection", "chunks", "updated", "source"),
        [
            (each.document_id, each.collection, each.chunks, output.when(each.updated_at), each.source)
            for each in documents
        ],
    )


def _print_details(details: "DocumentDetails") -> None:
    document = details.document
    facts = {
        "document": document.document_id,
        "collection": document.collection,
        "source": document.source,
        "title": document.title or "-",
        "chunks": document.chunks,
        "version": document.version,
        "made by": document.pipeline,
        "created": output.when(document.created_at),
        "updated": output.when(document.updated_at),
        **document.metadata,
    }
    width = max(len(safe(name)) for name in facts)
    for name, value in facts.items():
        print_text(f"{safe(name):{width}}  {safe(value)}")
    for hit in details.chunks:
        place = f"page {hit.page}, " if hit.page is not None else ""
        heading = f"  {safe(hit.heading)}" if hit.heading else ""
        print_text(f"\n[{place}characters {hit.start}-{hit.end}]{heading}\n{output.safe_lines(hit.text)}")
