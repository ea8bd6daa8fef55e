"""The version order (protocol V1): merging keeps the newer copy, so this order decides what survives."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.domain.record import Record
from gristmill.domain.versions import Ending, Step, Version, WriteIds, newer, settles
from tests.support import builders

FIELDS = ["tombstone", "round", "ending", "epoch", "step", "revision", "stamp", "write_id"]
LOW = Version(step=Step.PROCESSING)
HIGH = Version(
    tombstone=True,
    round=9,
    ending=Ending.COMPLETED,
    epoch=9,
    step=Step.PENDING,
    revision=9,
    stamp=9,
    write_id="z",
)

small = st.integers(0, 2)
versions = st.builds(
    Version,
    tombstone=st.booleans(),
    round=small,
    ending=st.sampled_from(Ending),
    epoch=small,
    step=st.sampled_from(Step),
    revision=small,
    stamp=small,
    write_id=st.sampled_from(["a:1", "a:2", "b:1"]),
)
rows = versions.map(lambda version: builders.record(version=version))


@pytest.mark.parametrize("position", range(len(FIELDS)))
def test_earlier_fields_outweigh_all_later_ones(position: int):
    """Equal up to a field, higher in that field and lower in every later one: newer."""
    higher = {name: getattr(HIGH, name) for name in FIELDS[: position + 1]}
    lower = {name: getattr(HIGH, name) for name in FIELDS[:position]}
    lower |= {name: getattr(HIGH, name) for name in FIELDS[position + 1 :]}
    assert replace(LOW, **higher) > replace(LOW, **lower)


def test_endings_and_steps_are_ordered_as_the_protocol_says():
    assert Ending.OPEN < Ending.FAILED < Ending.CANCELLED < Ending.COMPLETED
    assert Step.PROCESSING < Step.AWAITING_PROVIDER < Step.PENDING


@given(rows, rows)
def test_merging_is_commutative(left: Record, right: Record):
    assert newer(left, right).version == newer(right, left).version


@given(rows, rows, rows)
def test_merging_is_associative_in_any_order(one: Record, two: Record, three: Record):
    merged = {newer(newer(a, b), c).version for a, b, c in permutations([one, two, three])}
    merged |= {newer(a, newer(b, c)).version for a, b, c in permutations([one, two, three])}
    assert merged == {max(one.version, two.version, three.version)}


@given(rows)
def test_merging_is_idempotent(row: Record):
    assert newer(row, row) == row


@given(rows, rows)
def test_merge_is_one_of_the_two_and_never_older_than_either(left: Record, right: Record):
    merged = newer(left, right)
    assert merged in (left, right)
    assert merged.version >= left.version
    assert merged.version >= right.version


@given(versions)
def test_every_write_makes_a_newer_version(version: Version):
    written = version.written(stamp=5, write_id="z:1")
    assert written > version
    assert (written.revision, written.stamp, written.write_id) == (version.revision + 1, 5, "z:1")


@given(versions, versions)
def test_confirmation_settles_only_the_exact_version(owed: Version, confirmed: Version):
    assert settles(owed, confirmed) == (owed == confirmed)


def test_write_ids_never_repeat_and_keep_their_order():
    ids = WriteIds("writer")
    drawn = [ids.draw() for _ in range(2000)]
    assert drawn == sorted(set(drawn))
    assert WriteIds("another").draw() not in drawn


def test_tombstone_beats_everything():
    assert Version(tombstone=True) > replace(HIGH, tombstone=False)
