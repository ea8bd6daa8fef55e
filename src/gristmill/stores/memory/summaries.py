"""What the views show of batches and records, counted from the records themselves."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from gristmill.domain.batch import Aggregates, Batch, Counters, ErrorType
from gristmill.domain.failures import Failure, is_permanent
from gristmill.domain.record import Record, RecordStatus, is_permanently_failed
from gristmill.ports.batches import ErrorGroup, Progress, Statistics


def counters(records: Iterable[Record]) -> Counters:
    return Counters.of(Counter(record.status for record in records))


def aggregates(records: Sequence[Record], *, max_attempts: int) -> Aggregates:
    failed = _failed(records)
    return Aggregates(
        counters=counters(records),
        permanent_failures=sum(
            is_permanently_failed(error.category, record.attempts, max_attempts) for record, error in failed
        ),
        max_retries=max((record.retries_total for record in records), default=0),
        messages=_messages(records),
        latest_error_at=max((r.last_error_at for r in records if r.last_error_at), default=None),
        first_started_at=_first_start(records),
        last_ended_at=_last_end(records),
        error_types=_error_types(records),
    )


def progress(batch: Batch, records: Sequence[Record], now: datetime) -> Progress:
    found = counters(records)
    total = max(batch.total_files, found.total)
    elapsed = ((batch.completed_at or now) - (batch.started_at or now)).total_seconds()
    rate = found.ended / elapsed if elapsed > 0 else 0.0
    return Progress(
        batch=batch,
        counters=found,
        percent=round(100 * found.ended / total, 2) if total else 0.0,
        rate=rate,
        eta_seconds=found.open / rate if rate else None,
        failures=_by_category(records),
    )


def statistics(since: datetime, batches: Sequence[Batch], records: Sequence[Record]) -> Statistics:
    found = counters(records)
    tried = found.completed + found.failed
    return Statistics(
        since=since,
        batches=len(batches),
        batches_by_status=dict(Counter(batch.status.value for batch in batches)),
        items=found.total,
        completed=found.completed,
        failed=found.failed,
        cancelled=found.cancelled,
        success_rate_percentage=round(100 * found.completed / tried, 2) if tried else 0.0,
        mean_seconds=_mean_seconds(records),
        items_per_hour=_items_per_hour(records, found.ended),
        failures=_by_category(records),
    )


def error_groups(records: Sequence[Record]) -> list[ErrorGroup]:
    failed = _failed(records)
    groups = []
    for category in {error.category for _, error in failed}:
        members = [(record, error) for record, error in failed if error.category == category]
        newest, error = max(members, key=lambda member: (member[0].last_error_at, member[0].item_id))
        groups.append(
            ErrorGroup(
                category=category,
                count=len(members),
                permanent=is_permanent(category),
                item_id=newest.item_id,
                example=error.message,
            )
        )
    return sorted(groups, key=lambda group: (-group.count, group.category))


def _failed(records: Iterable[Record]) -> list[tuple[Record, Failure]]:
    return [(r, r.error) for r in records if r.status is RecordStatus.FAILED and r.error is not None]


def _by_category(records: Iterable[Record]) -> dict[str, int]:
    return dict(Counter(error.category.value for _, error in _failed(records)))


def _messages(records: Iterable[Record]) -> list[str]:
    newest: dict[str, datetime] = {}
    for record in records:
        if record.error is not None and record.last_error_at is not None:
            seen = newest.get(record.error.message, record.last_error_at)
            newest[record.error.message] = max(seen, record.last_error_at)
    return sorted(sorted(newest), key=lambda message: newest[message], reverse=True)


def _error_types(records: Iterable[Record]) -> list[ErrorType]:
    counts = Counter((r.error.category.value, r.error.message) for r in records if r.error is not None)
    types = [ErrorType(category, message, count) for (category, message), count in counts.items()]
    return sorted(types, key=lambda error: (-error.count, error.category, error.message))


def _first_start(records: Iterable[Record]) -> datetime | None:
    return min((r.started_at for r in records if r.started_at), default=None)


def _last_end(records: Iterable[Record]) -> datetime | None:
    return max((r.ended_at for r in records if r.ended_at), default=None)


def _mean_seconds(records: Iterable[Record]) -> float | None:
    took = [
        (r.ended_at - r.started_at).total_seconds()
        for r in records
        if r.status is RecordStatus.COMPLETED and r.ended_at and r.started_at
    ]
    return sum(took) / len(took) if took else None


def _items_per_hour(records: Sequence[Record], ended: int) -> float | None:
    first, last = _first_start(records), _last_end(records)
    if first is None or last is None or last <= first:
        return None
    return ended / ((last - first).total_seconds() / 3600)
