"""From a processor's outcomes to reports: one for each record, in groups that are worth a write."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import structlog

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.hold import of_common_cause
from gristmill.domain.record import Record, Report, Retry
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.processor import Processor, ShowStage

_log = structlog.get_logger(__name__)


async def reports_of(
    processor: Processor, records: Sequence[Record], show_stage: ShowStage
) -> AsyncGenerator[Report]:
    """One report for each record, whatever the processor does. Raises StoreUnavailableError."""
    left = {record.record_id: record for record in records}
    failure = Failure(
        FailureCategory.INTERNAL,
        f"The processor of '{processor.kind}' gave no outcome for this item; please report this.",
    )
    try:
        async for processed in processor.process(records, show_stage):
            record = left.pop(processed.record.record_id, None)
            if record is not None:
                yield Report(record, processed.outcome)
    except StoreUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - a processor may come from another package.
        _log.exception("processor_failed", kind=processor.kind)
        failure = Failure(FailureCategory.INTERNAL, f"{type(error).__name__}: {error}")
    for record in left.values():
        yield Report(record, Retry(failure))


async def in_bulk(
    reports: AsyncGenerator[Report], *, most: int, seconds: float
) -> AsyncGenerator[list[Report]]:
    """Group reports by number and time, so that an outcome waits no longer than it must.

    One whose cause may be common to all items waits for nothing: its batch may have to be held.
    """
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(reports):
        group: list[Report] = []
        written = loop.time()
        async for report in reports:
            group.append(report)
            late = loop.time() - written >= seconds
            if late or len(group) >= most or of_common_cause(report.outcome) is not None:
                yield group
                group, written = [], loop.time()
        if group:
            yield group
