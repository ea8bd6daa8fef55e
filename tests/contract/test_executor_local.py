import pytest

from gristmill.executors.local import LocalExecutor
from tests.contract.executor_contract import ExecutorContract


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    async def executor(self):
        executor = LocalExecutor(2)
        yield executor
        await executor.close()
