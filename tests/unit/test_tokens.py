import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.stopwords import STOP_WORDS
from gristmill.pipeline.tokens import index_tokens, query_tokens, units


def finds(query: str, text: str) -> bool:
    return set(query_tokens(query)) <= set(index_tokens(text))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("цемента", "Портландские ЦЕМЕНТЫ"),
        ("елка", "Ёлки в лесу"),
        ("е95", "Ё95"),
        ("мешки", "мешками"),
        ("running", "He runs"),
        ("STRASSE", "straße"),
        ("замок", "за\u0301мок"),
        ("йод", "и\u0306од"),
        ("fine", "ﬁne"),
        ("литр", "пол-литра"),
        ("3.5", "вес 3,5кг"),
        ("case", "snake_case_name"),
        ("перенос", "пере\u00adнос"),
        ("М500", "цемент М-500"),
        ("м-500", "цемент М500"),
        ("м 500", "цемент М500"),
        ("b25", "Concrete B25 W6"),
        ("B‑25", "b25"),
        ("2024", "12.05.2024"),
        ("user", "the user's"),
    ],
)
def test_one_form_of_a_word_finds_the_other(query, text):
    assert finds(query, text)


@pytest.mark.parametrize(
    ("query", "text"), [("3.5", "35"), ("цемент", "cement"), ("М500", "М400"), ("3.5", "5.3")]
)
def test_different_words_do_not_find_each_other(query, text):
    assert not finds(query, text)


def test_codes_are_indexed_whole_and_by_their_parts():
    assert index_tokens("М500") == ["м500", "м", "500"]
    assert index_tokens("М-500") == ["м", "500", "м500"]


def test_hashes_are_not_cut_into_letters_and_digits():
    assert index_tokens("a3f9c2") == ["a3f9c2"]


def test_numbers_with_one_separator_are_one_token_and_dates_are_not():
    assert index_tokens("3,5 12.05.2024 1,2,3") == ["3.5", "12", "05", "2024", "1", "2", "3"]


def test_query_leaves_stop_words_out_and_the_index_keeps_them():
    assert query_tokens("how to mix the concrete в ведре") == ["mix", "concret", "ведр"]
    assert index_tokens("the concrete") == ["the", "concret"]


@pytest.mark.parametrize("query", ["to be or not to be", "и не только"])
def test_query_of_stop_words_alone_keeps_them_and_finds(query):
    assert query_tokens(query)
    assert finds(query, f"Here: {query}!")


def test_query_tokens_come_once_and_in_order():
    assert query_tokens("sand цемент sands цементы") == ["sand", "цемент"]


@pytest.mark.parametrize("text", ["", "  ", "___ -- !?", "\u0301"])
def test_text_without_words_has_no_tokens(text):
    assert index_tokens(text) == []
    assert query_tokens(text) == []


def test_long_words_are_cut_at_64_characters():
    assert [
        len(t) for t in index_tokens("x" * 500 + " " + "1" * 200 + ".5 " + "a" * 90 + "-" + "7" * 90)
    ] == [64] * 5


def test_stop_words_are_written_as_tokens_see_them():
    assert all(word == word.casefold() and "ё" not in word for word in STOP_WORDS)


@given(st.text())
def test_units_stand_where_they_say_and_give_the_tokens_of_the_index(text):
    found = list(units(text))
    assert [t for unit in found for t in unit.tokens] == index_tokens(text)
    assert all(0 <= a.start < a.end <= len(text) for a in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@given(st.text())
def test_every_text_finds_itself(text):
    assert set(query_tokens(text)) <= set(index_tokens(text))
    assert bool(query_tokens(text)) == bool(index_tokens(text))


@given(st.text())
def test_tokens_are_short_and_folded(text):
    assert all(0 < len(t) <= 64 and t == t.casefold() and "ё" not in t for t in index_tokens(text))


def test_threads_get_the_same_tokens():
    text = " ".join(f"слова{i} цементами{chr(1072 + i % 32)}" for i in range(5000))
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(index_tokens(text))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == index_tokens(text) for result in results)


def test_a_megabyte_takes_about_a_second_at_most():
    # Measured: 3 MB a second in prose; the limit is loose for busy machines.
    text = "Цемент и песок привозят на стройку; the mixer turns all day long. " * 16_000
    started = time.perf_counter()
    index_tokens(text)
    assert time.perf_counter() - started < 3
