"""Back-off: how long an item waits before it is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.domain.retry import RetryPolicy

SEEDS = [f"seed-{number}" for number in range(200)]
policies = st.builds(
    RetryPolicy,
    first_delay_seconds=st.floats(0.1, 10),
    factor=st.floats(1, 5),
    longest_delay_seconds=st.floats(10, 1000),
)


def test_three_retries_follow_the_first_attempt():
    assert RetryPolicy().max_attempts == 4
    assert RetryPolicy(max_retries=0).max_attempts == 1


@given(policy=policies, attempts=st.integers(1, 400), seed=st.text(max_size=9))
def test_delay_is_half_to_all_of_its_step(policy: RetryPolicy, attempts: int, seed: str):
    step = min(policy.longest_delay_seconds, policy.first_delay_seconds * policy.factor ** (attempts - 1))
    assert step / 2 <= policy.delay_seconds(attempts, seed=seed) <= step


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_delays_grow_until_the_longest(seed: str):
    policy = RetryPolicy(first_delay_seconds=2, factor=4, longest_delay_seconds=600)
    delays = [policy.delay_seconds(attempts, seed=seed) for attempts in range(1, 5)]
    assert delays == sorted(delays)
    assert delays[0] <= 2
    assert all(300 <= policy.delay_seconds(attempts, seed=seed) <= 600 for attempts in range(6, 60))


def test_same_record_and_attempt_wait_equally_long_everywhere():
    """Written down once: every process must compute the same."""
    assert RetryPolicy().delay_seconds(1, seed="seed") == RetryPolicy().delay_seconds(1, seed="seed")
    assert RetryPolicy().delay_seconds(1, seed="seed") == pytest.approx(1.5073963541071862)


def test_records_that_failed_together_do_not_come_back_together():
    policy = RetryPolicy(first_delay_seconds=100, factor=1, longest_delay_seconds=100)
    delays = sorted(policy.delay_seconds(1, seed=seed) for seed in SEEDS)
    assert len(set(delays)) == len(SEEDS)
    assert delays[0] < 55
    assert delays[-1] > 95
    assert 70 < sum(delays) / len(delays) < 80


def test_attempts_of_a_record_have_jitters_of_their_own():
    policy = RetryPolicy(first_delay_seconds=100, factor=1, longest_delay_seconds=100)
    assert len({policy.delay_seconds(attempts, seed="seed") for attempts in range(1, 9)}) == 8
