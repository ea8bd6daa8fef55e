import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.domain.packing import DoesNotFitError, Limits, Load, fits, pack

WIDE = Limits(requests=100, size_bytes=1_000, tokens=1_000)


def loads(*sizes, tokens=1):
    return [Load(number, size_bytes=size, tokens=tokens) for number, size in enumerate(sizes)]


def test_nothing_to_pack_gives_no_group():
    assert list(pack([], WIDE)) == []


def test_everything_that_fits_is_one_group():
    assert list(pack(loads(10, 20, 30), WIDE)) == [[0, 1, 2]]


def test_group_ends_at_the_limit_of_requests():
    limits = Limits(requests=2, size_bytes=1_000, tokens=1_000)

    assert list(pack(loads(1, 1, 1, 1, 1), limits)) == [[0, 1], [2, 3], [4]]


def test_group_ends_before_the_load_that_would_exceed_its_bytes():
    limits = Limits(requests=100, size_bytes=50, tokens=1_000)

    assert list(pack(loads(30, 20, 1, 49), limits)) == [[0, 1], [2, 3]]


def test_group_ends_before_the_load_that_would_exceed_its_tokens():
    limits = Limits(requests=100, size_bytes=1_000, tokens=10)

    assert list(pack(loads(1, 1, 1, tokens=5), limits)) == [[0, 1], [2]]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests=0, size_bytes=100, tokens=100),
        Limits(requests=1, size_bytes=9, tokens=100),
        Limits(requests=1, size_bytes=100, tokens=4),
    ],
)
def test_load_over_a_limit_alone_is_refused(limits):
    load = Load("x", size_bytes=10, tokens=5)

    assert not fits(load, limits)
    with pytest.raises(DoesNotFitError, match="10 bytes and 5 tokens"):
        list(pack([load], limits))


def test_load_exactly_at_the_limits_fits():
    load = Load("x", size_bytes=10, tokens=5)

    assert list(pack([load], Limits(requests=1, size_bytes=10, tokens=5))) == [["x"]]


def test_groups_come_while_loads_are_still_drawn():
    drawn = []

    def stream():
        for number in range(5):
            drawn.append(number)
            yield Load(number, size_bytes=1, tokens=1)

    assert next(pack(stream(), Limits(requests=2, size_bytes=9, tokens=9))) == [0, 1]
    assert drawn == [0, 1, 2]


limits_ = st.builds(
    Limits, requests=st.integers(1, 6), size_bytes=st.integers(20, 60), tokens=st.integers(20, 60)
)
weights = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40)


@given(weights, limits_)
def test_groups_keep_order_and_limits_and_are_as_full_as_their_next_load_allows(given_weights, limits):
    all_loads = [
        Load(number, size_bytes=size, tokens=tokens) for number, (size, tokens) in enumerate(given_weights)
    ]

    groups = list(pack(all_loads, limits))

    assert [number for group in groups for number in group] == list(range(len(all_loads)))
    assert all(_within(group, given_weights, limits) for group in groups)
    for group, following in itertools.pairwise(groups):
        assert not _within([*group, following[0]], given_weights, limits)


def _within(group, given_weights, limits):
    return (
        len(group) <= limits.requests
        and sum(given_weights[number][0] for number in group) <= limits.size_bytes
        and sum(given_weights[number][1] for number in group) <= limits.tokens
    )
