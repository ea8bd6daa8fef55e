import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.pipeline.chunk import SemanticChunker
from gristmill.ports.extraction import Extraction, Markup, Passage

_pieces = st.sampled_from(
    [
        "слово ",
        "word ",
        "😀",
        "é",
        "\u0301",
        "ab",
        "\n",
        "\n\n",
        "\r\n",
        "# Head\n",
        "## Sub\n",
        "Title\n=====\n",
        "---\n",
        "```\n",
        "- item\n",
        "| a | b |\n",
        "> q\n",
        "\t",
        "\u2028",
        "\x1c",
        "\x85",
        "\u00a0",
        ". ",
        "日本語",
        "&amp;",
        "<b>",
        "[x](y)",
        "1. ",
    ]
)
_texts = (
    st.lists(_pieces | st.text(max_size=20), max_size=120)
    .map("".join)
    .filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
)
_markups = st.sampled_from(Markup)


def split(text: str, markup: Markup = Markup.MARKDOWN, *, size: int = 800, overlap: int = 0) -> list[Passage]:
    return list(SemanticChunker(size=size, overlap=overlap).split(Extraction(text, markup)))


@given(_texts, _markups, st.integers(1, 120), st.data())
@settings(max_examples=400, deadline=None)
def test_passages_are_slices_that_hold_the_size_and_cover_all_text(text, markup, size, data):
    overlap = data.draw(st.sampled_from([0, size // 2]))
    passages = split(text, markup, size=size, overlap=overlap)
    covered = bytearray(len(text))
    for index, passage in enumerate(passages):
        assert passage.index == index
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.strip()
        assert len(passage.text) <= size
        covered[passage.start : passage.end] = b"\1" * (passage.end - passage.start)
    assert not [c for c, seen in zip(text, covered, strict=True) if not seen and not c.isspace()]


@given(_texts, _markups)
@settings(max_examples=100, deadline=None)
def test_passages_without_overlap_follow_each_other(text, markup):
    passages = split(text, markup, size=50)
    assert all(a.end <= b.start for a, b in pairwise(passages))


@pytest.mark.parametrize("markup", Markup)
def test_long_texts_are_covered_across_the_stretches_they_are_cut_into(markup):
    text = "".join(f"Предложение номер {i} про цемент 😀.{chr(10) * (i % 3)} " for i in range(3000))
    passages = split(text, markup)
    assert "".join("".join(p.text for p in passages).split()) == "".join(text.split())


def test_overlap_repeats_the_end_of_the_passage_before():
    passages = split("one two three four five six seven eight nine ten", Markup.PLAIN, size=20, overlap=8)
    assert all(b.start < a.end for a, b in pairwise(passages))


def test_headings_above_a_passage_make_its_path():
    text = (
        "# Manual\n\nIntro.\n\n## Safety\n\n"
        + "Wear gloves. " * 30
        + "\n\n### Eyes\n\n"
        + "Wear glasses. " * 30
    )
    text += "\n\n## Repair\n\n" + "Call us. " * 40
    paths = {}
    for passage in split(text, size=300):
        paths.setdefault(passage.heading, passage.text)
    assert list(paths) == ["Manual", "Manual > Safety", "Manual > Safety > Eyes", "Manual > Repair"]


def test_passage_over_several_short_sections_has_the_path_they_share():
    text = "# Manual\n\n" + "x" * 300 + "\n\n## One\n\nshort\n\n## Two\n\nshort\n"
    assert [p.heading for p in split(text, size=310)] == ["Manual", "Manual"]


def test_heading_is_not_left_alone_before_a_block_that_fills_a_passage():
    text = "# Manual\n\n## Safety\n\n" + "Wear gloves and boots. " * 40
    passages = split(text, size=300)
    assert passages[0].text.startswith("# Manual\n\n## Safety\n\nWear gloves")
    assert all(len(p.text) <= 300 for p in passages)


def test_underlined_headings_count_and_marks_in_fenced_code_do_not():
    text = "Manual\n======\n\nSafety\n------\n\n```sh\n# no heading\n```\n\n" + "Wear gloves. " * 40
    assert split(text, size=200)[-1].heading == "Manual > Safety"


def test_markup_of_a_heading_is_left_out_of_the_path():
    text = "# The *new* [manual](http://example.org) `v2` ##\n\n" + "Text. " * 100
    assert split(text, size=200)[-1].heading == "The new manual v2"


def test_plain_text_has_no_headings():
    assert {p.heading for p in split("# Not a heading\n\n" + "Text. " * 100, Markup.PLAIN, size=100)} == {""}


def test_page_is_the_one_on_which_the_passage_starts():
    pages = ["Page one. " * 20, "", "Page three. " * 20]
    starts = (0, len(pages[0]), len(pages[0]))
    extraction = Extraction("".join(pages), page_starts=starts)
    passages = SemanticChunker(size=60).split(extraction)
    assert {p.page for p in passages if p.start < starts[2]} == {1}
    assert {p.page for p in passages if p.start >= starts[2]} == {3}


def test_formats_without_pages_have_no_page():
    assert [p.page for p in split("Some text.")] == [None]


def test_parameters_name_everything_that_changes_the_result():
    assert SemanticChunker(size=500, overlap=50).parameters == "size=500,overlap=50"
    assert "semantic-text-splitter" in SemanticChunker().version


def test_overlap_as_large_as_the_size_is_refused():
    with pytest.raises(ValueError, match="below the chunk size"):
        SemanticChunker(size=100, overlap=100)


def test_half_of_a_surrogate_pair_is_bad_input():
    with pytest.raises(ItemError) as caught:
        split("text \ud83d text")
    assert caught.value.category is FailureCategory.BAD_INPUT


def test_time_grows_with_the_text_and_not_with_its_square():
    # Two million characters in one piece take the splitter over ten seconds; limits are loose for busy machines.
    text = "слово " * 350_000
    started = time.perf_counter()
    split(text, Markup.PLAIN)
    assert time.perf_counter() - started < 6
