from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.markings import Marked, mark
from gristmill.pipeline.tokens import query_tokens

_words = st.lists(st.sampled_from(["цемент", "песка", "mixer", "М-500", "and", "\n", "x" * 40]), max_size=80)


def words(marked: Marked) -> list[str]:
    return [marked.text[start:end] for start, end in marked.spans]


def marks(text: str, query: str, width: int = 300) -> Marked:
    return mark(text, query_tokens(query), width=width)


def test_whole_words_of_the_query_are_marked_in_every_form():
    marked = marks("Привезли цементы и песок, цементная пыль.", "цемента песок")
    assert words(marked) == ["цементы", "песок"]


def test_codes_are_marked_whole():
    assert words(marks("Цемент М-500 дороже", "м500")) == ["М-500"]


def test_words_that_only_contain_the_query_are_not_marked():
    assert words(marks("The scattered cat concatenates", "cat")) == ["cat"]


def test_short_text_comes_whole():
    assert marks("A short text.", "short") == Marked("A short text.", ((2, 7),))


def test_window_goes_where_most_words_of_the_query_are():
    text = (
        "sand "
        + "filler " * 100
        + "sand sand sand "
        + "filler " * 100
        + "sand with cement "
        + "filler " * 100
    )
    marked = marks(text, "cement sand", width=80)
    assert words(marked) == ["sand", "cement"]
    assert marked.cut_before
    assert marked.cut_after


def test_earliest_of_equally_good_windows_is_shown():
    assert marks("first needle " + "filler " * 100 + "second needle", "needle", width=30).text.startswith(
        "first needle"
    )


def test_without_a_match_the_beginning_is_shown():
    marked = marks("Beginning of it. " + "filler " * 100, "zebra", width=40)
    assert marked.text.startswith("Beginning of it.")
    assert marked.spans == ()
    assert not marked.cut_before
    assert marked.cut_after


def test_window_does_not_cut_words():
    text = "abcdefgh " * 50 + "needle " + "abcdefgh " * 50
    marked = marks(text, "needle", width=50)
    assert set(marked.text.split()) == {"abcdefgh", "needle"}


def test_word_longer_than_the_window_is_shown_and_marked_in_part():
    marked = marks("y " + "x" * 500, "x" * 500, width=100)
    assert len(marked.text) <= 100
    assert words(marked) == [marked.text]


def test_white_space_that_is_left_out_is_no_cut():
    assert marks("  A short text. \n", "short") == Marked("A short text.", ((2, 7),))


def test_empty_text_gives_an_empty_window():
    assert marks("", "word") == Marked("")


@given(_words, st.sampled_from(["цемента", "М500 mixer", "песок цемент", "nothing"]), st.integers(1, 200))
def test_spans_are_ordered_words_inside_a_window_of_the_text(parts, query, width):
    text = " ".join(parts)
    marked = marks(text, query, width=width)
    assert len(marked.text) <= width
    assert marked.text in text
    assert all(0 <= start < end <= len(marked.text) for start, end in marked.spans)
    assert all(a[1] <= b[0] for a, b in zip(marked.spans, marked.spans[1:], strict=False))
    assert bool(marked.spans) == bool(marks(text, query, width=10_000).spans)
