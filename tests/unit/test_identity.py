"""Ids derived from content, and what can be an item id."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.domain import identity
from gristmill.domain.document import EmbeddingIdentity, embedded_text
from gristmill.domain.identity import BadItemIdError, checked_item_id
from tests.support.builders import EMBEDDING

BATCH = UUID("9b0f6c1e-0b43-4b53-9d5e-1f2f0c7f5a11")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_ids_are_the_same_in_every_process():
    """Written down once: changing one of these loses every stored reference."""
    assert identity.record_id(BATCH, "ключ-1") == UUID("b382258e-525c-587e-9bbf-b8973b1409a0")
    assert identity.document_id("papers", "file:///a") == UUID("99ab3ba0-8b49-5524-b8f0-ec14fe84b81c")
    assert identity.chunk_id(UUID(int=1), "v", 0) == UUID("9e92c16f-cad6-5866-9ce7-b96efdaf54fe")
    assert identity.vector_id("text", EMBEDDING.key) == UUID("0ded5359-eac7-5d00-8af1-64b791cbece6")
    assert identity.end_event_id(BATCH, 2) == UUID("eee9c7d7-2e62-5a4a-950d-c1e0f79120f7")


@pytest.mark.parametrize("derive", [identity.document_id, identity.vector_id])
@given(left=st.tuples(texts, texts), right=st.tuples(texts, texts))
def test_different_parts_give_different_ids(derive, left: tuple[str, str], right: tuple[str, str]):
    assert (derive(*left) == derive(*right)) == (left == right)


def test_parts_cannot_run_into_each_other():
    assert identity.document_id("a", "bc") != identity.document_id("ab", "c")
    assert identity.document_id("a", "\x1f1:b") != identity.document_id("a\x1f1:b", "")
    assert identity.chunk_id(BATCH, "v1", 2) != identity.chunk_id(BATCH, "v", 12)


def test_kinds_of_ids_are_apart():
    ids = {
        identity.record_id(BATCH, "1"),
        identity.end_event_id(BATCH, 1),
        identity.document_id(str(BATCH), "1"),
    }
    assert len(ids) == 3


def test_every_part_of_a_version_changes_it():
    base = identity.version_of("content", "pipeline")
    assert base == identity.version_of("content", "pipeline")
    assert len({base, identity.version_of("other", "pipeline"), identity.version_of("content", "other")}) == 3


def test_same_text_has_one_vector_for_each_identity():
    other = EmbeddingIdentity("test", "hash", 8, task="query")
    assert identity.vector_id("a", EMBEDDING.key) == identity.vector_id("a", EMBEDDING.key)
    assert identity.vector_id("a", EMBEDDING.key) != identity.vector_id("a", other.key)


def test_every_part_of_an_embedding_identity_is_in_its_key():
    changed = [
        EmbeddingIdentity("p", "m", 8),
        EmbeddingIdentity("x", "m", 8),
        EmbeddingIdentity("p", "x", 8),
        EmbeddingIdentity("p", "m", 9),
        EmbeddingIdentity("p", "m", 8, task="query"),
        EmbeddingIdentity("p", "m", 8, normalised=False),
    ]
    assert len({each.key for each in changed}) == 6


def test_text_without_a_source_is_named_by_its_hash():
    assert identity.text_source("abc") == "text:" + identity.content_hash(b"abc")
    assert identity.text_source("\ud800") != identity.text_source("\ud801")


def test_embedded_text_joins_what_there_is():
    assert embedded_text("Title", "A > B", "Text") == "Title\nA > B\nText"
    assert embedded_text(None, "", "Text") == "Text"


@pytest.mark.parametrize(
    "value", ["a", "x" * 500, "ю" * 500, " a ", "a\nb", "\t.", "𝄞", "e\u0301", "\u200b\u200d", "\ufeff"]
)
def test_item_id_is_taken_as_it_is(value: str):
    assert checked_item_id(value, position=0) == value


@pytest.mark.parametrize(
    "value",
    [None, 7, 1.5, b"a", ["a"], True, "", " ", "\n\t", "x" * 501, "\ud800", "a\udfffb", "a\x00", "\x00"],
)
def test_bad_item_id_is_refused_with_position_type_and_value(value: object):
    with pytest.raises(BadItemIdError) as refused:
        checked_item_id(value, position=41)
    assert (refused.value.position, refused.value.value) == (41, value)
    assert "41" in str(refused.value)
    assert type(value).__name__ in str(refused.value)
    assert len(str(refused.value)) < 300
    str(refused.value).encode()
