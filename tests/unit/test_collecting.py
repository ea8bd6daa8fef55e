"""The garbage collector while workers run in somebody else's process."""

import gc

import pytest

from gristmill.engine.collecting import fewer_collections


@pytest.fixture(autouse=True)
def python_s_own():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_the_last_worker_that_leaves_restores_what_the_first_one_found():
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (50_000, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("seldom", [0, 100_000], ids=["never", "less often"])
def test_a_process_that_collects_as_seldom_stays_as_it_is(seldom: int):
    gc.set_threshold(seldom, 5, 5)
    with fewer_collections():
        assert gc.get_threshold() == (seldom, 5, 5)
    assert gc.get_threshold() == (seldom, 5, 5)


def test_it_is_restored_after_an_error():
    with pytest.raises(ValueError, match="odd"), fewer_collections():
        raise ValueError("odd")
    assert gc.get_threshold() == (700, 10, 10)
