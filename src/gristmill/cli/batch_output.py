"""How batches look, as JSON and as text; shared by every command that ends with a batch."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from gristmill.cli import output
from gristmill.cli.output import counted, print_text, safe
from gristmill.domain.batch import Batch, BatchStatus, BatchStatusView
from gristmill.domain.record import Record, RecordStatus
from gristmill.insights.batches import BatchReport, Findings, resume_arguments, retry_command
from gristmill.pipeline.select import Skipped
from gristmill.ports.batches import ErrorGroup

SHOWN = 50


def batch_json(batch: Batch, *, interrupted: bool) -> dict[str, Any]:
    shown = (
        "batch_id",
        "name",
        "kind",
        "collection",
        "status",
        "priority",
        "round",
        "total_files",
        "processed_files",
        "max_error_rate",
        "created_at",
        "sealed_at",
        "started_at",
        "completed_at",
        "error_message",
        "options",
    )
    return {name: getattr(batch, name) for name in shown} | {
        "submission_interrupted": interrupted,
        "held": held_json(batch),
    }


def held_json(batch: Batch) -> dict[str, Any] | None:
    hold = batch.hold
    if not hold.held:
        return None
    return {"since": hold.since, "next_try": hold.until, "cause": hold.cause, "reason": hold.reason}


def report_json(report: BatchReport) -> dict[str, Any]:
    """The 19 columns and cancelled_count; errors by category with the command that retries them."""
    return {
        **report.view.as_json(),
        "error_message": report.batch.error_message,
        "submission_interrupted": report.interrupted,
        "missing": report.missing,
        "held": held_json(report.batch),
        "ways_out": ways_out(report.batch) if report.interrupted or report.missing else [],
        "errors": errors_json(report.batch.batch_id, report.errors),
    }


def errors_json(batch_id: UUID, groups: Sequence[ErrorGroup]) -> list[dict[str, Any]]:
    return [output.jsonable(group) | {"retry_command": retry_command(batch_id, group)} for group in groups]


def record_json(record: Record) -> dict[str, Any]:
    shown = (
        "item_id",
        "source",
        "status",
        "stage",
        "progress",
        "attempts",
        "retries_total",
        "started_at",
        "ended_at",
        "result",
    )
    error = record.error
    return {name: getattr(record, name) for name in shown} | {
        "error_category": error.category if error else None,
        "error_message": error.message if error else None,
    }


def ways_out(batch: Batch) -> list[str]:
    """Both ways out where a submission was interrupted, or declared items are missing."""
    again = resume_arguments(batch) or ["ingest", "--batch-id", str(batch.batch_id), "PATH"]
    return [output.command(["gristmill", *again]), f"gristmill batches seal {batch.batch_id}"]


def status_words(status: BatchStatus) -> str:
    return status.value.replace("_", " ")


def counts_line(view: BatchStatusView) -> str:
    parts = [f"{view.completed_count:,} of {counted(view.total_documents, 'file')} completed"]
    others = (
        (view.failed_count, "failed"),
        (view.in_progress_count, "in work"),
        (view.queued_count, "waiting"),
        (view.cancelled_count, "cancelled"),
    )
    return ", ".join([*parts, *(f"{number:,} {word}" for number, word in others if number)])


def print_interrupted(batch: Batch) -> None:
    print_text(
        "\nsubmission interrupted: the process that submitted this batch is gone. What is here goes on."
    )
    again, seal = ways_out(batch)
    print_text(f"  Submit the rest:           {again}")
    print_text(f"  Or declare this to be all: {seal}")


def print_missing(report: BatchReport) -> None:
    view = report.view
    print_text(
        f"\n{view.total_documents:,} of {counted(view.total_files, 'declared item')} are here. The others are in "
        "another database that is away, and go on when it is back, or they were lost with it. Then:"
    )
    again, seal = ways_out(report.batch)
    print_text(f"  Submit the same again:     {again}")
    print_text(f"  Or declare this to be all: {seal}")


def print_held(batch: Batch) -> None:
    hold = batch.hold
    print_text(f"\nheld since {output.when(hold.since)}: {safe(hold.reason or '')}")
    print_text(
        f"  Nothing is lost and no attempt is spent. It is tried again from {output.when(hold.until)} on, "
        "and goes on by itself once that works."
    )


def print_failures(failed: Sequence[Record], total: int, batch_id: UUID) -> None:
    if not failed:
        return
    print_text(f"\nFailed ({total:,}):")
    for record in failed[:SHOWN]:
        print_text(f"  {_failure_line(record)}")
    if total > SHOWN:
        print_text(f"  ... and {total - SHOWN:,} more: gristmill batches results {batch_id} --status failed")


def _failure_line(record: Record) -> str:
    category, message = (record.error.category, record.error.message) if record.error else ("", "")
    return f"{safe(record.source or record.item_id)}  [{category}]  {safe(message)}"


def print_warnings(records: Sequence[Record]) -> None:
    if not records:
        return
    print_text("\nWarnings:")
    for record in records[:SHOWN]:
        for warning in record.result.warnings if record.result else ():
            print_text(f"  {safe(record.source or record.item_id)}  {safe(warning)}")


def print_skipped(skipped: Sequence[Skipped]) -> None:
    if not skipped:
        return
    print_text(f"\nSkipped ({len(skipped):,}):")
    for each in skipped[:SHOWN]:
        print_text(f"  {safe(each.source)}  {safe(each.reason)}")
    if len(skipped) > SHOWN:
        print_text(f"  ... and {len(skipped) - SHOWN:,} more; --json lists all.")


def print_next(commands: Iterable[tuple[str, str]]) -> None:
    """Next steps: what for, and the command."""
    steps = list(commands)
    if not steps:
        return
    print_text("\nNext:")
    width = max(len(purpose) for purpose, _ in steps)
    for purpose, line in steps:
        print_text(f"  {purpose + ':':{width + 1}}  {line}")


def retry_steps(report: BatchReport) -> list[tuple[str, str]]:
    """The commands that retry each category; permanent ones first need another file or setting."""
    batch_id = report.batch.batch_id
    return [
        (f"Retry {group.category}", retry_command(batch_id, group))
        for group in report.errors
        if not group.permanent
    ]


def _time_taken(view: BatchStatusView) -> str:
    if view.batch_started_at is None or view.batch_completed_at is None:
        return ""
    return f" in {output.duration((view.batch_completed_at - view.batch_started_at).total_seconds())}"


def print_report(report: BatchReport, found: Findings) -> None:
    """The end of a batch: how it went and each failed file; the caller adds what it knows besides."""
    view = report.view
    print_text(f"Batch {view.batch_id}: {status_words(view.computed_status)}{_time_taken(view)}")
    unchanged = f" ({found.unchanged:,} unchanged)" if found.unchanged else ""
    print_text(counts_line(view) + unchanged)
    if report.batch.error_message:
        print_text(safe(report.batch.error_message))
    print_failures(found.failed, view.failed_count, view.batch_id)
    print_warnings(found.with_warnings)


def print_view(report: BatchReport) -> None:
    """The status view, one column a line."""
    view = report.view.as_json()
    width = max(len(column) for column in view)
    for column, value in view.items():
        print_text(f"{column:{width}}  {_cell(column, value, report.view)}")
    if report.batch.error_message:
        print_text(f"\n{safe(report.batch.error_message)}")
    if report.batch.hold.held:
        print_held(report.batch)
    if report.interrupted:
        print_interrupted(report.batch)
    if report.missing:
        print_missing(report)
    if report.errors:
        print_next([("See the errors", f"gristmill batches errors {report.batch.batch_id}")])


def _cell(column: str, value: Any, view: BatchStatusView) -> str:
    match getattr(view, column):
        case None | "" | ():
            return "-"
        case datetime() as time:
            return output.when(time)
        case str() as text if column == "error_messages":
            return "\n    ".join(["", *(safe(line) for line in text.split("\n"))])
        case list() | tuple() as types:
            return "\n    ".join(
                ["", *(f"{each.count:,} x {each.category}: {safe(each.message)}" for each in types)]
            )
        case _:
            return safe(value)


def print_list(found: Sequence[tuple[Batch, bool]]) -> None:
    if not found:
        print_text("There are no batches yet. `gristmill ingest PATH` makes one.")
        return
    output.print_table(
        ("batch", "status", "done", "total", "created", "collection", "name"),
        [
            (
                batch.batch_id,
                _state(batch, interrupted=interrupted),
                batch.processed_files,
                batch.total_files if batch.sealed_at else "?",
                output.when(batch.created_at),
                batch.collection,
                batch.name,
            )
            for batch, interrupted in found
        ],
    )


def _state(batch: Batch, *, interrupted: bool) -> str:
    if interrupted:
        return "submission interrupted"
    return "held" if batch.hold.held else status_words(batch.status)


def print_records(records: Sequence[Record]) -> None:
    if not records:
        print_text("No items match.")
        return
    output.print_table(
        ("item", "status", "attempts", "chunks", "error"),
        [
            (
                record.source or record.item_id,
                record.status if record.status is not RecordStatus.PROCESSING else record.stage,
                record.attempts,
                record.result.chunks if record.result else "",
                f"{record.error.category}: {record.error.message}" if record.error else "",
            )
            for record in records
        ],
    )


def print_errors(batch_id: UUID, groups: Sequence[ErrorGroup]) -> None:
    if not groups:
        print_text("No item of this batch has failed.")
    for group in groups:
        lasting = ", comes again unless the file or a setting changes" if group.permanent else ""
        print_text(f"{group.category}: {counted(group.count, 'item')}{lasting}")
        print_text(f"  {safe(group.item_id)}  {safe(group.example)}")
        print_text(
            f"  Files:  gristmill batches results {batch_id} --status failed --category {group.category}"
        )
        print_text(f"  Retry:  {retry_command(batch_id, group)}")
