"""The status view, computed status, tolerance and ending rules, straight from their definitions."""

import json
from dataclasses import fields, replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from gristmill.domain.batch import (
    ENDED_BATCH_STATUSES,
    Aggregates,
    BatchStatus,
    Counters,
    ErrorType,
    computed_status,
    exceeds_tolerance,
    may_end,
    status_view,
)
from gristmill.domain.record import RecordStatus
from tests.support import builders
from tests.support.clocks import START


def _found(counters: Counters = Counters(), **changes: Any) -> Aggregates:  # noqa: B008 - frozen
    fields: dict[str, Any] = {
        "counters": counters,
        "permanent_failures": 0,
        "max_retries": 0,
        "messages": (),
        "latest_error_at": None,
        "first_started_at": None,
        "last_ended_at": None,
        "error_types": (),
    }
    return Aggregates(**(fields | changes))


def _by_definition(*, sealed: bool, started: bool, stopped: bool, counters: Counters) -> BatchStatus:
    """The column's definition, line by line."""
    pending, open_records = counters.pending, counters.pending + counters.processing
    if sealed and counters.total == 0:
        return BatchStatus.COMPLETED
    if pending and not started and pending == counters.total:
        return BatchStatus.QUEUED
    if not sealed or open_records:
        return BatchStatus.PROCESSING
    if counters.cancelled:
        return BatchStatus.ERROR if stopped else BatchStatus.CANCELLED
    if counters.failed == 0:
        return BatchStatus.COMPLETED
    return BatchStatus.ERROR if counters.completed == 0 else BatchStatus.COMPLETED_WITH_ERRORS


def test_computed_status_is_as_defined_for_every_combination():
    seen = set()
    for sealed, started, stopped, *counts in product(*[[False, True]] * 3, *[[0, 1]] * 5):
        counters = Counters(*counts)
        batch = builders.batch(
            sealed_at=START if sealed else None,
            started_at=START if started else None,
            error_message="Stopped." if stopped else None,
        )
        expected = _by_definition(sealed=sealed, started=started, stopped=stopped, counters=counters)
        assert computed_status(batch, counters) is expected
        seen.add(expected)
    assert seen == set(BatchStatus)


@pytest.mark.parametrize(
    ("sealed", "counters", "expected"),
    [
        (True, Counters(), BatchStatus.COMPLETED),
        (False, Counters(), BatchStatus.PROCESSING),
        (False, Counters(pending=2), BatchStatus.QUEUED),
        (True, Counters(pending=2), BatchStatus.QUEUED),
        (True, Counters(pending=1, processing=1), BatchStatus.PROCESSING),
        (False, Counters(completed=3), BatchStatus.PROCESSING),
        (True, Counters(completed=3), BatchStatus.COMPLETED),
        (True, Counters(completed=1, failed=1), BatchStatus.COMPLETED_WITH_ERRORS),
        (True, Counters(failed=2), BatchStatus.ERROR),
        (True, Counters(completed=1, failed=1, cancelled=1), BatchStatus.CANCELLED),
    ],
)
def test_computed_status_line_by_line(*, sealed: bool, counters: Counters, expected: BatchStatus):
    batch = builders.batch(sealed_at=START if sealed else None)
    assert computed_status(batch, counters) is expected


def test_counters_add_up_from_statuses():
    counters = Counters.of({RecordStatus.PENDING: 1, RecordStatus.FAILED: 4, RecordStatus.CANCELLED: 2})
    assert counters == Counters(pending=1, failed=4, cancelled=2)
    assert (counters.open, counters.ended, counters.total) == (1, 6, 7)
    assert Counters(1, 2, 4, 8, 16).total == 31
    assert (Counters(1, 2, 4, 8, 16).open, Counters(1, 2, 4, 8, 16).ended) == (3, 28)


@pytest.mark.parametrize(
    ("completed", "failed", "rate"), [(0, 0, 0.0), (2, 1, 33.33), (1, 2, 66.67), (0, 5, 100.0), (5, 0, 0.0)]
)
def test_error_rate_is_of_completed_and_failed_with_two_decimals(completed: int, failed: int, rate: float):
    counters = Counters(pending=9, processing=9, completed=completed, failed=failed, cancelled=9)
    assert counters.error_rate == rate


@pytest.mark.parametrize(
    ("failed", "completed", "cancelled", "rate", "exceeded"),
    [
        (19, 0, 0, 10.0, False),
        (20, 0, 0, 10.0, True),
        (2, 18, 0, 10.0, False),
        (3, 17, 0, 10.0, True),
        (3, 16, 1, 10.0, True),
        (20, 0, 0, None, False),
        (20, 0, 0, 100.0, False),
        (1, 99, 0, 0.0, True),
        (0, 99, 0, 0.0, False),
    ],
)
def test_tolerance_counts_failed_among_ended_once_twenty_have(
    failed: int, completed: int, cancelled: int, rate: float | None, *, exceeded: bool
):
    counters = Counters(pending=50, completed=completed, failed=failed, cancelled=cancelled)
    assert exceeds_tolerance(builders.batch(max_error_rate=rate), counters) == exceeded


def test_batch_may_end_only_sealed_complete_and_with_nothing_open():
    sealed = builders.batch(sealed_at=START, total_files=3, status=BatchStatus.PROCESSING)
    ended = Counters(completed=1, failed=1, cancelled=1)
    assert may_end(sealed, ended)
    assert may_end(replace(sealed, total_files=0), Counters())
    assert not may_end(replace(sealed, sealed_at=None), ended)
    assert not may_end(replace(sealed, total_files=4), ended)
    assert may_end(replace(sealed, total_files=2), ended)
    assert not may_end(sealed, Counters(completed=2, pending=1))
    assert not may_end(sealed, Counters(completed=2, processing=1))
    for status in ENDED_BATCH_STATUSES:
        assert not may_end(replace(sealed, status=status), ended)


def test_columns_come_from_the_stored_facts_and_the_aggregates():
    batch = builders.batch(sealed_at=START, total_files=40, status=BatchStatus.PROCESSING)
    errors = [ErrorType("crashed", str(n), 9 - n) for n in range(7)]
    found = _found(
        Counters(1, 2, 4, 8, 16),
        permanent_failures=5,
        max_retries=3,
        messages=[f"m{n}" for n in range(12)],
        latest_error_at=START + timedelta(seconds=1),
        first_started_at=START,
        last_ended_at=START + timedelta(seconds=2),
        error_types=errors,
    )
    view = status_view(batch, found, START + timedelta(hours=2))
    assert (view.batch_id, view.batch_created_at) == (batch.batch_id, batch.created_at)
    assert (view.total_files, view.total_documents) == (40, 31)
    assert (view.queued_count, view.in_progress_count, view.completed_count) == (1, 2, 4)
    assert (view.failed_count, view.cancelled_count, view.error_rate_percentage) == (8, 16, 66.67)
    assert (view.permanent_failures, view.max_retries) == (5, 3)
    assert view.error_messages.split("\n") == [f"m{n}" for n in range(10)]
    assert list(view.top_error_types) == errors[:5]
    assert view.latest_error_at == START + timedelta(seconds=1)
    assert (view.batch_started_at, view.batch_completed_at, view.processing_hours) == (START, None, 2.0)


def test_files_of_an_unsealed_batch_are_those_so_far():
    view = status_view(builders.batch(), _found(Counters(pending=7)), START)
    assert (view.total_files, view.total_documents) == (7, 7)


def test_ended_batch_completed_with_its_last_record():
    batch = builders.batch(status=BatchStatus.COMPLETED, sealed_at=START, completed_at=START + timedelta(9))
    last = START + timedelta(seconds=1234)
    found = _found(Counters(completed=1), first_started_at=START, last_ended_at=last)
    view = status_view(batch, found, START + timedelta(days=30))
    assert (view.batch_completed_at, view.processing_hours) == (last, 0.3428)


def test_hours_are_unknown_before_the_start():
    assert status_view(builders.batch(), _found(), START + timedelta(hours=3)).processing_hours is None


def test_messages_are_single_lines_cut_at_500_characters():
    messages = ["a\nb\r\n\tc", "ж" * 501, "  x  "]
    view = status_view(builders.batch(), _found(messages=messages), START)
    assert view.error_messages.split("\n") == ["a b c", "ж" * 500, "x"]


def test_json_has_every_column_as_a_json_value():
    found = _found(Counters(failed=1), error_types=[ErrorType("empty", "Пусто.", 1)], latest_error_at=START)
    view = status_view(builders.batch(), found, START)
    shown = view.as_json()
    assert json.loads(json.dumps(shown)) == shown
    assert list(shown) == [column.name for column in fields(view)]
    assert shown["top_error_types"] == [{"category": "empty", "message": "Пусто.", "count": 1}]
    assert (shown["batch_id"], shown["latest_error_at"]) == (str(view.batch_id), START.isoformat())
