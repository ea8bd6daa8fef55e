"""Words one slip away from those of a query."""

import pytest

from gristmill.pipeline.slips import slips
from gristmill.pipeline.stopwords import STOP_WORDS
from gristmill.pipeline.tokens import index_tokens


@pytest.mark.parametrize(
    ("meant", "written"),
    [
        ("adhesive", "adhesvie"),
        ("adhesive", "adhesve"),
        ("adhesive", "adhessive"),
        ("adhesive", "adhezive"),
        ("цемент", "цемнет"),
        ("поддоны", "подоны"),
        ("forklift", "frklift"),
        ("ёлка", "елкаа"),
    ],
)
def test_the_word_that_was_meant_is_near(meant: str, written: str):
    (token,) = index_tokens(meant)
    assert token in slips(f"the {written}")


def test_each_token_has_a_word_that_leads_to_it():
    near = slips("forklfit")
    assert near["forklift"] == "forklift"
    assert all(token in index_tokens(word) for token, word in near.items())


@pytest.mark.parametrize("query", ["cat", "B25", "12345", "naïve", "цeмент", "x" * 25, "", "the"])
def test_short_long_and_foreign_words_have_none(query: str):
    assert slips(query) == {}


def test_stop_words_and_the_word_itself_are_not_among_them():
    assert "that" not in slips("thta").values()
    assert not STOP_WORDS & set(slips("weree").values())
    assert "cement" not in slips("cement").values()


def test_a_long_query_costs_no_more_than_its_three_longest_words():
    words = [f"{letter * 3}longword" for letter in "abcdefgh"]
    longest = slips(" ".join(words[:3]))
    assert slips(" ".join(words)) == longest
