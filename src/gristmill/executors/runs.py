"""Runs of calls, whose turn it is, and what a pool process has taken of one."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator

from gristmill.domain.failures import Failure
from gristmill.executors.process import Reply
from gristmill.ports.executor import Broken, Call, Returned

MOST_UNFETCHED = 256
MOST_UNFETCHED_BYTES = 32 << 20


class Run:
    """The calls of one ``run``: those that wait, those that were taken, and the results not yet fetched."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._waiting = deque(calls)
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[Reply | Broken | Exception] = asyncio.Queue()
        self._unfetched_bytes = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def may_begin(self) -> bool:
        """Whether a call waits and there is room for its result."""
        unfetched = self._results.qsize() + self._taken
        return bool(
            self._waiting and unfetched < MOST_UNFETCHED and self._unfetched_bytes < MOST_UNFETCHED_BYTES
        )

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def take(self) -> Call:
        """The next call; it comes to its result, or goes back."""
        self._taken += 1
        return self._waiting.popleft()

    def put_back(self, calls: Iterable[Call]) -> None:
        """Calls that were taken in this order and did not begin are next again."""
        for call in reversed(list(calls)):
            self._taken -= 1
            self._waiting.appendleft(call)

    def put(self, result: Reply | Broken) -> None:
        """Hand over the result of a call that was taken."""
        self._taken -= 1
        self._hand_over(result)

    def fail(self, error: Exception) -> None:
        """Raise it where the next result is fetched."""
        self._hand_over(error)

    async def fetch(self) -> Returned | Broken:
        result = await self._results.get()
        self._unfetched_bytes -= _size(result)
        if isinstance(result, Exception):
            raise result
        return result.read() if isinstance(result, Reply) else result

    def break_waiting(self, failure: Failure) -> None:
        while self._waiting:
            self._hand_over(Broken(self._waiting.popleft().key, failure, ran=False))

    async def stop(self) -> None:
        """Cancel what waits, kill what runs, and return when nothing runs any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiting.clear()

    def _hand_over(self, result: Reply | Broken | Exception) -> None:
        self._unfetched_bytes += _size(result)
        self._results.put_nowait(result)


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

    def next(self) -> Run | None:
        ready = [run for run in self._runs if run.may_begin]
        return min(ready, key=lambda run: run.waiting, default=None)

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._runs))


class Share:
    """What one pool process takes of a run: one call at first, and more as it goes along."""

    def __init__(self, run: Run, turns: Turns, processes: int) -> None:
        self._run = run
        self._turns = turns
        self._processes = processes
        self._first: Call | None = run.take()
        self._open = {self._first.key: self._first}

    def take(self, *, ahead: bool = False) -> Call | None:
        """The next call, if it is still this run's turn; the last ones are taken ahead of time by nobody.

        They are for the process that is free first.
        """
        if self._first is not None:
            call, self._first = self._first, None
            return call
        if self._turns.next() is not self._run or (ahead and self._run.waiting < self._processes):
            return None
        call = self._run.take()
        self._open[call.key] = call
        return call

    def put(self, result: Reply | Broken) -> None:
        del self._open[result.key]
        self._run.put(result)

    def break_oldest(self, failure: Failure) -> None:
        """It was the one that ran, or that should have."""
        if self._open:
            self.put(Broken(next(iter(self._open)), failure))

    def put_back(self) -> None:
        """What was taken and has no result."""
        self._run.put_back(self._open.values())
        self._open = {}
