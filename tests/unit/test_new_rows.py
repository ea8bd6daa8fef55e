"""New records' rows are made from a pattern; they must be what any other way of writing a record gives."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gristmill.domain.identity import record_id, record_ids
from gristmill.domain.moves import Write
from gristmill.domain.record import Item
from gristmill.stores.sql.new_rows import record_of, rows_of
from gristmill.stores.sql.rows import NAMES, values_of
from tests.support.builders import batch

BATCH = UUID("3f0cbb5c-9a4e-4c5e-8b63-0a0a7f1f2d11")
START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [
    Item("plain", "documents"),
    Item("ключ\x85", "prices", "dir/\udcff.txt", {"path": "dir/\udcff.txt", "n": [1, None]}),
    Item("x" * 500, "documents", "", {}),
]


class _Writes:
    """Each a second later than the one before."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self) -> Write:
        self.drawn += 1
        return Write(now=START + timedelta(seconds=self.drawn), write_id=f"w:{self.drawn}")


@pytest.mark.parametrize("priority", [-3, 0, 7])
def test_are_those_of_their_records(priority: int) -> None:
    mine = batch(batch_id=BATCH, priority=priority)
    writes = _Writes()
    writes()  # The pattern itself takes one.

    expected = [values_of(record_of(mine, item, writes)) for item in ITEMS]

    assert list(rows_of(mine, ITEMS, _Writes())) == expected
    assert all(len(row) == len(NAMES) for row in expected)


@pytest.mark.parametrize("item_id", ["1", "ключ-1", "a\x1f1:b", "x" * 500])
def test_ids_made_in_bulk_are_those_made_one_by_one(item_id: str) -> None:
    assert record_ids(BATCH)(item_id) == record_id(BATCH, item_id).bytes
