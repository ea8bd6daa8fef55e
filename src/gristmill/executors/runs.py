"""Runs of calls, and whose turn it is."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator

from gristmill.domain.failures import Failure
from gristmill.executors.process import Reply
from gristmill.ports.executor import Broken, Call, Returned

MOST_UNFETCHED = 256
MOST_UNFETCHED_BYTES = 32 << 20


class Run:
    """The calls of one ``run``: those that wait, those that are running, and the results not yet fetched."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.waiting = deque(calls)
        self._running: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[Reply | Broken | Exception] = asyncio.Queue()
        self._unfetched_bytes = 0

    @property
    def may_begin(self) -> bool:
        """Whether a call waits and there is room for its result."""
        unfetched = self._results.qsize() + len(self._running)
        return bool(
            self.waiting and unfetched < MOST_UNFETCHED and self._unfetched_bytes < MOST_UNFETCHED_BYTES
        )

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def put(self, result: Reply | Broken | Exception) -> None:
        """Hand over a result, or an exception for whoever fetches next."""
        self._unfetched_bytes += _size(result)
        self._results.put_nowait(result)

    async def fetch(self) -> Returned | Broken:
        result = await self._results.get()
        self._unfetched_bytes -= _size(result)
        if isinstance(result, Exception):
            raise result
        return result.read() if isinstance(result, Reply) else result

    def break_waiting(self, failure: Failure) -> None:
        while self.waiting:
            self.put(Broken(self.waiting.popleft().key, failure, ran=False))

    async def stop(self) -> None:
        """Cancel what waits, kill what runs, and return when nothing runs any more."""
        self.waiting.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _size(result: Reply | Broken | Exception) -> int:
    return len(result.packed) if isinstance(result, Reply) else 0


class Turns:
    """Whose call is next: of the run with the fewest left, so that runs end one after another and not all at once.

    Whoever asks for a run writes its results when it has ended, which takes no process; meanwhile the others run.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def join(self, run: Run) -> None:
        self._runs.append(run)

    def leave(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)

    def next(self) -> tuple[Run, Call] | None:
        ready = [run for run in self._runs if run.may_begin]
        if not ready:
            return None
        run = min(ready, key=lambda run: len(run.waiting))
        return run, run.waiting.popleft()

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))
