import math

import pytest

from bench.scoring import by_best_chunk, ndcg, recall


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
