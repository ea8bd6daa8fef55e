"""The work of ``gristmill ingest`` and what it prints."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gristmill.cli import batch_output, output, progress
from gristmill.cli.exit_codes import ExitCode, of_batches
from gristmill.cli.output import counted, print_text, safe, say
from gristmill.commands import ingest as commands
from gristmill.commands.ingest import Ingest, IngestRequest
from gristmill.engine.core import Core
from gristmill.insights import batches
from gristmill.insights.batches import BatchReport, Findings
from gristmill.pipeline.documents import DEFAULT_COLLECTION


@dataclass(frozen=True, slots=True)
class Finished:
    """What an ingest came to: its end with ``wait``, else its acceptance."""

    request: IngestRequest
    ingest: Ingest
    report: BatchReport
    found: Findings
    pruned: int
    wait: bool
    worker_alive: bool

    def print(self, *, as_json: bool) -> int:
        view = self.report.view
        if not view.total_documents:
            where = ", ".join(safe(path) for path in self.request.paths)
            say(f"Warning: there was no file to ingest under {where}.")
        if as_json:
            output.print_json(self._ended_json() if self.wait else self._accepted_json())
        elif self.wait:
            self._print_ended()
        else:
            self._print_accepted()
        return of_batches([view.computed_status]) if self.wait else ExitCode.OK

    def _accepted_json(self) -> dict[str, Any]:
        view = self.report.view
        return {
            "batch_id": view.batch_id,
            "total": view.total_documents,
            "skipped": self.ingest.skipped,
            "pruned": self.pruned,
            "worker_alive": self.worker_alive,
        }

    def _ended_json(self) -> dict[str, Any]:
        warnings = [
            {"source": record.source, "warning": warning}
            for record in self.found.with_warnings
            for warning in (record.result.warnings if record.result else ())
        ]
        return {
            **batch_output.report_json(self.report),
            "unchanged": self.found.unchanged,
            "skipped": self.ingest.skipped,
            "pruned": self.pruned,
            "warnings": warnings,
        }

    def _print_accepted(self) -> None:
        view = self.report.view
        print_text(f"Batch {view.batch_id}: accepted, {counted(view.total_documents, 'file')}.")
        self._print_beside()
        steps = []
        if not self.worker_alive:
            print_text("No worker is alive: nothing happens until one is started.")
            steps = [("Work on it", "gristmill worker start")]
        batch_output.print_next([*steps, ("Follow it", f"gristmill batches watch {view.batch_id}")])

    def _print_ended(self) -> None:
        view = self.report.view
        batch_output.print_report(self.report, self.found)
        self._print_beside()
        steps: list[tuple[str, str]] = []
        if view.completed_count:
            steps.append(("Search", output.command(["gristmill", "search", "QUESTION", *self._collection()])))
        if view.failed_count:
            steps.append(("See the errors", f"gristmill batches errors {view.batch_id}"))
        batch_output.print_next([*steps, *batch_output.retry_steps(self.report)])

    def _print_beside(self) -> None:
        batch_output.print_skipped(self.ingest.skipped)
        if self.pruned:
            print_text(f"\nPruned {counted(self.pruned, 'document')} whose file is gone.")

    def _collection(self) -> list[str]:
        name = self.request.collection
        return [] if name == DEFAULT_COLLECTION else ["--collection", name]


class Command:
    """One run of the command; knows its batch as soon as there is one."""

    def __init__(self, request: IngestRequest, *, wait: bool, prune: bool) -> None:
        self._request = request
        self._wait = wait
        self._prune = prune
        self._batch_id: UUID | None = None

    async def run(self, core: Core) -> Finished:
        async with progress.beside(core) as show:

            def start(begun: Ingest) -> None:
                self._batch_id = begun.batch_id
                say(f"Batch {begun.batch_id}")
                show(begun.batch_id)

            done = await commands.ingest_paths(core, self._request, wait=self._wait, on_start=start)
        return Finished(
            request=self._request,
            ingest=done,
            pruned=await commands.prune(core, self._request, done) if self._prune else 0,
            report=await batches.report(core, done.batch_id),
            found=await batches.findings(core, done.batch_id),
            wait=self._wait,
            worker_alive=await batches.has_worker(core),
        )

    def advice(self) -> str:
        """How to go on after an interruption."""
        if self._batch_id is None:
            return "Nothing was submitted."
        return f"What is done is kept. Go on with:\n  {_same_command(self._batch_id)}"


def _same_command(batch_id: UUID) -> str:
    given: Sequence[str] = sys.argv[1:]
    if not any(each.split("=")[0] == "--batch-id" for each in given):
        end = given.index("--") if "--" in given else len(given)
        given = [*given[:end], "--batch-id", str(batch_id), *given[end:]]
    return output.command(["gristmill", *given])


def dry_run(request: IngestRequest, *, as_json: bool) -> int:
    """Print what would be ingested and what skipped; opens no database."""
    selected, skipped = commands.dry_run(request)
    if as_json:
        output.print_json({"selected": [each.source for each in selected], "skipped": skipped, "next": None})
        return ExitCode.OK
    for each in selected:
        print_text(safe(each.source))
    print_text(f"\n{counted(len(selected), 'file')} would be ingested. Nothing was created.")
    batch_output.print_skipped(skipped)
    return ExitCode.OK
