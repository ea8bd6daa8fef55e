"""Runs of calls, and whose turn it is."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator

from gristmill.domain.failures import Failure
from gristmill.ports.executor import Broken, Call, Returned


class Run:
    """The calls of one ``run``: those that wait, those that are running, and the results not yet fetched."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.waiting = deque(calls)
        self._running: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[Returned | Broken | Exception] = asyncio.Queue()

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def put(self, result: Returned | Broken | Exception) -> None:
        """Hand over a result, or an exception for whoever fetches next."""
        self._results.put_nowait(result)

    async def fetch(self) -> Returned | Broken:
        result = await self._results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def break_waiting(self, failure: Failure) -> None:
        while self.waiting:
            self.put(Broken(self.waiting.popleft().key, failure))

    async def stop(self) -> None:
        """Cancel what waits, kill what runs, and return when nothing runs any more."""
        self.waiting.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class Turns:
    """Gives each run with waiting calls one call in turn."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque()

    def join(self, run: Run) -> None:
        self._runs.append(run)

    def leave(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)

    def next(self) -> tuple[Run, Call] | None:
        for _ in range(len(self._runs)):
            run = self._runs[0]
            self._runs.rotate(-1)
            if run.waiting:
                return run, run.waiting.popleft()
        return None

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))
