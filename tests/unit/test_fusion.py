import itertools
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.domain.fusion import Fusion, coverage, fuse, reciprocal_ranks, relative_scores

A, B, C, D = (UUID(int=number) for number in range(1, 5))

scored = st.dictionaries(
    st.uuids(version=4), st.floats(min_value=-1, max_value=50, allow_nan=False), max_size=8
).map(lambda leg: sorted(leg.items(), key=lambda hit: -hit[1]))
weights = st.floats(min_value=0, max_value=1)


def order(fused):
    return [chunk for chunk, _ in fused]


def test_scores_are_scaled_from_the_legs_lowest_to_its_highest():
    assert relative_scores([(A, 30.0), (B, 20.0), (C, 10.0)]) == {A: 1.0, B: 0.5, C: 0.0}


def test_hits_that_all_score_alike_count_in_full():
    assert relative_scores([(A, 7.0), (B, 7.0)]) == {A: 1.0, B: 1.0}


def test_leg_without_hits_has_no_scores():
    assert relative_scores([]) == {}
    assert reciprocal_ranks([]) == {}
    assert fuse([], []) == []


def test_ranks_count_from_one_after_the_constant():
    assert reciprocal_ranks([(A, 9.0), (B, 1.0)]) == {A: 1 / 61, B: 1 / 62}


def test_weights_decide_between_the_legs():
    text, vector = [(A, 9.0), (B, 1.0)], [(B, 0.9), (A, 0.1)]

    assert order(fuse(text, vector, text_weight=0.7, vector_weight=0.3)) == [A, B]
    assert order(fuse(text, vector, text_weight=0.3, vector_weight=0.7)) == [B, A]


def test_weights_count_by_their_share():
    text, vector = [(A, 9.0), (B, 1.0)], [(B, 0.9), (C, 0.1)]
    whole = fuse(text, vector, text_weight=0.7, vector_weight=0.3)
    half = fuse(text, vector, text_weight=0.35, vector_weight=0.15)

    assert dict(half) == pytest.approx(dict(whole))


def test_chunk_that_both_legs_find_comes_once_with_both_scores():
    fused = fuse([(A, 9.0), (B, 1.0)], [(A, 0.9), (C, 0.1)], text_weight=0.7, vector_weight=0.3)

    assert fused[0] == (A, pytest.approx(1.0))
    assert sorted(order(fused)) == [A, B, C]


def test_equal_scores_are_ordered_by_chunk_id():
    assert order(fuse([(B, 5.0), (A, 5.0)], [])) == [A, B]


def test_text_that_covers_half_of_the_query_has_its_full_weight():
    text, vector = [(A, 9.0), (B, 1.0)], [(C, 0.9), (D, 0.1)]

    assert fuse(text, vector, text_coverage=0.5) == fuse(text, vector, text_coverage=1.0)


def test_text_that_covers_little_of_the_query_yields_to_the_vectors():
    text, vector = [(A, 9.0), (B, 1.0)], [(C, 0.9), (D, 0.1)]

    assert order(fuse(text, vector, text_coverage=0.6))[0] == A
    assert order(fuse(text, vector, text_coverage=0.1))[0] == C


def test_query_of_which_text_has_no_word_is_ranked_by_the_vectors_alone():
    fused = fuse([(A, 9.0), (B, 8.0)], [(C, 0.9), (D, 0.5), (B, 0.3)], text_coverage=0.0)

    assert fused[:2] == [(C, pytest.approx(1.0)), (D, pytest.approx(1 / 3))]


def test_coverage_counts_each_token_of_the_query_once_and_beyond_the_first():
    assert coverage(["pump", "valve", "pump", "seal"], ["pump", "pump", "seal"]) == 0.5
    assert coverage(["pump", "valve"], ["pump", "pipe"]) == 0.0
    assert coverage(["pump", "valve"], ["pipe"]) == 0.0
    assert coverage(["pump"], ["pump"]) == 1.0
    assert coverage(["pump"], []) == 0.0
    assert coverage([], ["pump"]) == 0.0


@given(scored, scored, weights, weights, weights)
def test_fused_scores_fall_and_stay_between_0_and_1(text, vector, text_weight, vector_weight, covered):
    fused = fuse(text, vector, text_weight=text_weight, vector_weight=vector_weight, text_coverage=covered)

    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)
    assert set(order(fused)) == {chunk for chunk, _ in (*text, *vector)}


@given(scored, st.sampled_from(Fusion))
def test_fusing_with_nothing_keeps_a_legs_order(leg, fusion):
    fused = dict(fuse(leg, [], fusion=fusion))

    assert all(fused[better] >= fused[worse] for (better, _), (worse, _) in itertools.pairwise(leg))
