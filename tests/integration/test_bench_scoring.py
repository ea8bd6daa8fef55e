import math

import pytest

from bench.scoring import by_best_chunk, interval_of_mean, ndcg, recall


def test_perfect_ranking_has_an_ndcg_of_1():
    assert ndcg(["a", "b", "x"], {"a", "b"}) == pytest.approx(1.0)


def test_ndcg_discounts_by_rank():
    assert ndcg(["x", "a"], {"a"}) == pytest.approx(1 / math.log2(3))


def test_ndcg_looks_no_further_than_its_depth():
    assert ndcg([*"0123456789", "a"], {"a"}) == 0.0


def test_ideal_ranking_is_no_longer_than_the_depth():
    relevant = set(range(50))

    assert ndcg(list(range(50)), relevant) == pytest.approx(1.0)


def test_recall_is_the_share_of_the_relevant_within_the_depth():
    assert recall(["a", "x", "b"], {"a", "b"}, at=2) == 0.5
    assert recall(["a", "x", "b"], {"a", "b"}, at=3) == 1.0
    assert recall([], {"a"}, at=10) == 0.0


def test_document_ranks_by_its_best_chunk():
    assert by_best_chunk(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


def test_interval_of_differences_without_direction_spans_zero():
    low, high = interval_of_mean([0.5, -0.5] * 50)

    assert low < 0 < high


def test_interval_of_a_steady_difference_does_not_span_zero():
    low, high = interval_of_mean([0.1, 0.2] * 50)

    assert 0.1 < low < 0.15 < high < 0.2


def test_interval_is_the_same_every_time():
    differences = [0.3, -0.1, 0.0, 0.2]

    assert interval_of_mean(differences) == interval_of_mean(differences)
