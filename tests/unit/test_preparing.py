"""Documents that are prepared together: each gets its own vectors, or none at all."""

from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from gristmill import wiring
from gristmill.domain.failures import Failure, FailureCategory, ItemError
from gristmill.domain.identity import document_id
from gristmill.executors.inline import InlineExecutor
from gristmill.pipeline.prepare import Task, prepare, prepare_together
from gristmill.pipeline.preparing import ItemLimits, Preparing, Sized
from gristmill.ports.executor import Broken, Call, Returned
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


def sizes_of(*sizes: int) -> list[Sized]:
    return [Sized(task(str(number), "x"), size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([1] * 17, [16, 1]),
        ([0] * 17, [16, 1]),
        ([32 << 10, 1], [1, 1]),
        ([(32 << 10) - 1, 1, 1], [2, 1]),
        ([1, 1 << 20, 1], [1, 1, 1]),
        ([], []),
    ],
)
async def test_small_ones_share_a_call_and_a_large_one_is_by_itself(sizes: list[int], groups: list[int]):
    executor = Recording()
    found = [at async for at, _ in Preparing(executor, RECIPE, ItemLimits()).run(sizes_of(*sizes), numbered)]
    assert sorted(found) == list(range(len(sizes)))
    assert executor.together == groups


async def test_those_that_share_a_call_share_a_short_time_and_one_alone_has_its_own():
    executor = Recording()
    preparing = Preparing(executor, RECIPE, ItemLimits(time_seconds=60))
    async for _ in preparing.run(sizes_of(1, 1, 1 << 20), numbered):
        pass
    assert executor.seconds == [10, 60]


async def test_what_fails_in_company_is_told_before_the_next_call_ends():
    tasks = [Sized(task("empty", " "), 1), *sizes_of(*[1] * 20)]
    preparing = Preparing(Recording(), RECIPE, ItemLimits())
    ends = [result async for _, result in preparing.run(tasks, numbered)]
    (failed,) = (place for place, result in enumerate(ends) if isinstance(result, Broken))
    assert failed == 15  # After the others of its own call.
    assert len(ends) == 21


async def test_what_could_not_begin_is_not_tried_alone():
    preparing = Preparing(Recording(full=True), RECIPE, ItemLimits())
    ends = [result async for _, result in preparing.run(sizes_of(1, 1, 1), numbered)]
    assert [isinstance(result, Broken) and not result.ran for result in ends] == [True] * 3


class Recording:
    """Runs calls here and now, one after another; ``full``: none can begin."""

    def __init__(self, *, full: bool = False) -> None:
        self.together: list[int] = []
        self.seconds: list[float] = []
        self._full = full

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        for call in calls:
            given = call.arguments[0]
            self.together.append(len(given) if isinstance(given, tuple) else 1)
            self.seconds.append(call.time_limit_seconds)
            if self._full:
                yield Broken(
                    call.key, Failure(FailureCategory.INTERNAL, "No process can be started."), ran=False
                )
                continue
            async for result in InlineExecutor().run([call]):
                yield result

    async def close(self) -> None:
        pass
