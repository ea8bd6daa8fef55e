"""Runs of calls, and whose turn it is."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator

from gristmill.domain.failures import Failure
from gristmill.ports.executor import Broken, Call, Returned

MOST_UNFETCHED = 256
MOST_UNFETCHED_BYTES = 32 << 20


class Run:
    """The calls of one ``run``: those that wait, those that are running, and the results not yet fetched."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.waiting = deque(calls)
        self._running: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[Returned | Broken | Exception] = asyncio.Queue()
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

    def put(self, result: Returned | Broken | Exception) -> None:
        """Hand over a result, or an exception for whoever fetches next."""
        self._unfetched_bytes += _size(result)
        self._results.put_nowait(result)

    async def fetch(self) -> Returned | Broken:
        result = await self._results.get()
        self._unfetched_bytes -= _size(result)
        if isinstance(result, Exception):
            raise result
        return result

    def break_waiting(self, failure: Failure) -> None:
        while self.waiting:
            self.put(Broken(self.waiting.popleft().key, failure, ran=False))

    async def stop(self) -> None:
        """Cancel what waits, kill what runs, and return when nothing runs any more."""
        self.waiting.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _size(result: Returned | Broken | Exception) -> int:
    return result.size_bytes if isinstance(result, Returned) else 0


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
            if run.may_begin:
                return run, run.waiting.popleft()
        return None

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))
