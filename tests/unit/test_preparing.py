"""Documents that are prepared together: each gets its own vectors, or none at all."""

import numpy as np
import pytest

from gristmill import wiring
from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.domain.identity import document_id
from gristmill.pipeline.prepare import Task, prepare, prepare_together
from gristmill.settings import Settings

RECIPE = wiring._recipe(Settings())


def task(source: str, text: str) -> Task:
    return Task(document_id("default", source), "default", source, text)


TASKS = (task("a", "One line."), task("b", " "), task("c", "# Two\n\n" + "A sentence of some length. " * 200))


def numbered(texts: tuple[str, ...]):
    """A vector for each text that tells which it was."""
    return np.array([[float(sum(text.encode()))] * 4 for text in texts], np.float32)


def test_each_has_the_vectors_of_its_own_texts():
    first, empty, last = prepare_together(TASKS, RECIPE, numbered)
    assert empty is None
    assert last is not None
    assert len(last.version.chunks) > 1
    for each, given in ((first, TASKS[0]), (last, TASKS[2])):
        assert each is not None
        assert each.version == prepare(given, RECIPE).version
        assert np.array_equal(each.vectors, numbered(tuple(each.texts.values())))


def test_alone_it_tells_why_it_cannot_be_prepared():
    with pytest.raises(ItemError) as caught:
        prepare(TASKS[1], RECIPE, numbered)
    assert caught.value.failure.category is FailureCategory.EMPTY


@pytest.mark.parametrize("rows", [-1, 1], ids=["one too few", "one too many"])
def test_vectors_of_another_number_belong_to_nobody(rows: int):
    def miscounts(texts: tuple[str, ...]):
        return np.ones((len(texts) + rows, 4), np.float32)

    assert {each.vectors for each in prepare_together(TASKS, RECIPE, miscounts) if each} == {None}


def test_an_embedder_that_fails_leaves_the_texts_to_whoever_finds_them_missing():
    def fails(_texts: tuple[str, ...]):
        raise OSError("its weights are gone")

    assert {each.vectors for each in prepare_together(TASKS, RECIPE, fails) if each} == {None}
