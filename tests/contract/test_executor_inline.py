import pytest

from gristmill.executors.inline import InlineExecutor
from tests.contract.executor_calls import double
from tests.contract.executor_contract import ExecutorContract, call


class TestInlineExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return InlineExecutor()

    async def test_calls_run_in_order(self, executor):
        keys = [result.key async for result in executor.run([call(str(n), double, n) for n in range(20)])]
        assert keys == [str(n) for n in range(20)]
