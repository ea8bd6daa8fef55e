"""What every executor does; an implementation inherits ExecutorContract and gives a fixture ``executor``."""

import asyncio
from pathlib import Path

import pytest

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.ports.executor import Broken, Call, Executor, Returned
from tests.contract.executor_calls import (
    double,
    end_the_program,
    leave_a_mark,
    marks_in,
    raise_surrogate,
    raise_unprintable,
    refuse,
    run_out_of_memory,
    stumble,
)


def call(key, function, *arguments, seconds=30.0, memory=1 << 30):
    return Call(key, function, arguments, time_limit_seconds=seconds, memory_limit_bytes=memory)


async def results(executor, calls):
    """Every result by key; a key that comes twice is a failure of the executor."""
    found = {}
    async for result in executor.run(calls):
        assert result.key not in found
        found[result.key] = result
    return found


async def only_result(executor, one):
    return (await results(executor, [one]))[one.key]


class ExecutorContract:
    async def test_every_call_gets_exactly_one_result_under_its_key(self, executor: Executor):
        calls = [call(f"k{n}", double, n) for n in range(100)]
        expected = {f"k{n}": Returned(f"k{n}", 2 * n) for n in range(100)}
        assert await results(executor, calls) == expected

    async def test_no_calls_give_no_results(self, executor: Executor):
        assert await results(executor, []) == {}

    async def test_an_item_error_keeps_its_category_and_sentence(self, executor: Executor):
        broken = await only_result(executor, call("a", refuse, "Needs a password."))
        assert broken == Broken("a", Failure(FailureCategory.ENCRYPTED, "Needs a password."))

    async def test_any_other_exception_is_internal_and_named(self, executor: Executor):
        broken = await only_result(executor, call("a", stumble, "colour"))
        assert broken == Broken("a", Failure(FailureCategory.INTERNAL, "KeyError: 'colour'"))

    async def test_an_exception_that_cannot_be_printed_is_still_named(self, executor: Executor):
        broken = await only_result(executor, call("a", raise_unprintable))
        assert broken.failure.category is FailureCategory.INTERNAL
        assert broken.failure.message.startswith("UnprintableError")

    async def test_messages_are_text_that_every_database_takes(self, executor: Executor):
        broken = await only_result(executor, call("a", raise_surrogate))
        assert broken.failure.message == "ValueError: caf\\udce9.pdf"

    async def test_a_call_cannot_end_the_program(self, executor: Executor):
        broken = await only_result(executor, call("a", end_the_program))
        assert broken == Broken("a", Failure(FailureCategory.INTERNAL, "SystemExit: 3"))

    async def test_running_out_of_memory_names_the_setting(self, executor: Executor):
        broken = await only_result(executor, call("a", run_out_of_memory, memory=300 << 20))
        assert broken.failure.category is FailureCategory.CRASHED
        assert "300 MiB" in broken.failure.message
        assert "`item_memory_bytes`" in broken.failure.message

    async def test_failures_do_not_touch_their_neighbours(self, executor: Executor):
        calls = [call("bad", stumble, "x"), *(call(f"k{n}", double, n) for n in range(10))]
        found = await results(executor, calls)
        assert isinstance(found.pop("bad"), Broken)
        assert all(isinstance(result, Returned) for result in found.values())
        assert len(found) == 10

    async def test_several_runs_may_be_active_at_once(self, executor: Executor):
        first, second = await asyncio.gather(
            results(executor, [call(f"a{n}", double, n) for n in range(20)]),
            results(executor, [call(f"b{n}", double, n) for n in range(20)]),
        )
        assert set(first) == {f"a{n}" for n in range(20)}
        assert set(second) == {f"b{n}" for n in range(20)}

    async def test_closing_a_run_early_cancels_what_has_not_started(self, executor: Executor, tmp_path: Path):
        calls = [call(f"k{n}", leave_a_mark, str(tmp_path), f"k{n}") for n in range(500)]
        run = executor.run(calls)
        await anext(run)
        await run.aclose()
        started = marks_in(tmp_path)
        assert started < 500
        assert await only_result(executor, call("after", double, 4)) == Returned("after", 8)
        assert marks_in(tmp_path) == started

    async def test_closing_runs_early_again_and_again_uses_nothing_up(self, executor: Executor):
        for _ in range(5):
            run = executor.run([call(f"k{n}", double, n) for n in range(5)])
            await anext(run)
            await run.aclose()
        assert len(await results(executor, [call(f"k{n}", double, n) for n in range(5)])) == 5

    async def test_closing_twice_is_safe(self, executor: Executor):
        await results(executor, [call("a", double, 1)])
        await executor.close()
        await executor.close()

    async def test_closing_before_any_call_is_safe(self, executor: Executor):
        await executor.close()

    async def test_a_closed_executor_runs_nothing(self, executor: Executor):
        await executor.close()
        with pytest.raises(RuntimeError, match="closed"):
            await results(executor, [call("a", double, 1)])
