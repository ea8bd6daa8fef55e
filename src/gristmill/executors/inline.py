"""Calls in the calling process, for tests and small scripts."""

from collections.abc import AsyncIterator, Sequence

from gristmill.executors import verdicts
from gristmill.ports.executor import Broken, Call, Returned


class InlineExecutor:
    """Runs calls one after the other, in order, without limits: one that hangs or crashes takes us with it."""

    def __init__(self) -> None:
        self._closed = False

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        for call in calls:
            if self._closed:
                raise RuntimeError("The executor is closed: what had not returned did not run to its end.")
            yield _run(call)

    async def close(self) -> None:
        self._closed = True


def _run(call: Call) -> Returned | Broken:
    try:
        return Returned(call.key, call.function(*call.arguments))
    except MemoryError:
        return Broken(call.key, verdicts.out_of_memory(call.memory_limit_bytes))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # Whatever the call raises is its result.
        return Broken(call.key, verdicts.raised(error))
