"""The integers that stand for a text's place, and the bound on a chunk's score: right for every input."""

from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.stores.qdrant.ranking import Bm25, weight
from gristmill.stores.qdrant.text_order import place

texts = st.text(st.characters(codec="utf-8") | st.sampled_from("ab/Аё𝄞"), max_size=40)
prefixed = st.builds(
    lambda shared, end: "file:///home/" + shared + end, st.sampled_from(["", "a/", "a/b"]), texts
)


@given(st.lists(texts | prefixed, min_size=2, max_size=12), texts | prefixed)
@example(["ab", "ab\x00"], "ab")
@example(["a", "ab", "abc"], "ab")
@example(["я" * 3_000, "я" * 3_000 + "a", "я" * 3_001], "я" * 3_000 + "b")
def test_places_are_in_the_order_of_code_points(given: list[str], reference: str):
    ordered = sorted([*given, reference])
    places = [place(text, reference) for text in ordered]
    assert places == sorted(places)
    assert max(max(each) for each in places) < 2**53


def test_texts_that_differ_soon_behind_the_reference_have_places_of_their_own():
    texts = [f"file:///home/user/documents/{name}" for name in ["b/1", "b/10", "b/2", "c/1", "a"]]
    assert len({place(text, texts[0]) for text in texts}) == len(texts)


@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    others=st.integers(0, 400),
    mean=st.floats(1, 900),
    index_mean=st.floats(1, 900),
)
def test_no_chunk_scores_more_than_its_bound(counts: list[int], others: int, mean: float, index_mean: float):
    idf = {term: 0.1 + term for term in range(len(counts))}
    bm25 = Bm25(idf=idf, mean_length=mean, index_mean_length=index_mean)
    length = sum(counts) + others
    chunk = {"terms": list(idf), "counts": counts, "length": length}
    in_index = sum(idf[n] * weight(count, length, index_mean) for n, count in enumerate(counts))
    assert bm25.score(chunk) <= bm25.most(in_index)
