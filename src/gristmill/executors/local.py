"""Pool processes on this machine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from gristmill.executors import verdicts
from gristmill.executors.runs import Run, Turns
from gristmill.executors.seat import Seat
from gristmill.executors.starting import ProcessStartError
from gristmill.ports.executor import Broken, Call, Returned

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Use:
    """The use of a seat for one call."""

    seat: Seat
    over: bool = False


class LocalExecutor:
    """Runs every call alone in one of ``processes`` pool processes, so that the culprit is always known.

    Belongs to the event loop that first runs it. The time limit starts when a ready process gets the call, and
    includes loading whatever the function imports. The memory limit is the resident memory of the whole pool
    process, imported libraries and models included; programs that a call starts are killed with it, but their
    memory is not counted. A process is replaced after ``calls_per_process`` calls, to bound leaks, and when it
    keeps more than half of the limit between calls.
    """

    def __init__(
        self,
        processes: int,
        *,
        calls_per_process: int = 2_000,
        result_limit_bytes: int = 256 << 20,
        start_pauses_seconds: Sequence[float] = (0.1, 0.5, 2.0),
        python: str = sys.executable,
    ) -> None:
        if processes < 1:
            raise ValueError(f"A pool needs at least one process, not {processes}.")
        self._seats = tuple(
            Seat(
                python=python,
                calls_per_process=calls_per_process,
                result_limit_bytes=result_limit_bytes,
                start_pauses_seconds=start_pauses_seconds,
            )
            for _ in range(processes)
        )
        self._free = list(self._seats)
        self._turns = Turns()
        self._closed = False

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        if self._closed:
            raise _closed()
        run = Run(calls)
        self._turns.join(run)
        try:
            self._hand_out()
            for _ in calls:
                result = await run.fetch()
                self._hand_out()  # There is room for another result.
                yield result
        finally:
            self._turns.leave(run)
            await run.stop()

    async def close(self) -> None:
        self._closed = True
        for run in self._turns:
            run.put(_closed())
        await asyncio.gather(*(run.stop() for run in self._turns))
        await asyncio.gather(*(seat.close() for seat in self._seats))

    def _hand_out(self) -> None:
        while self._free and not self._closed and (turn := self._turns.next()):
            run, call = turn
            seat = self._free.pop()
            use = _Use(seat)
            task = run.begin(self._work(use, run, call))
            # Also here, because work that is cancelled first never begins.
            task.add_done_callback(partial(self._end, use))

    async def _work(self, use: _Use, run: Run, call: Call) -> None:
        try:
            result = await use.seat.run(call)
            self._give_back(use)  # The next call is on its way before anyone reads this result.
            run.put(result)
        except ProcessStartError as error:
            self._do_without(run, call, error)
        except Exception as error:
            log.exception("executor_failed", key=call.key)
            run.put(Broken(call.key, verdicts.raised(error)))

    def _end(self, use: _Use, _task: asyncio.Task[None]) -> None:
        self._give_back(use)

    def _give_back(self, use: _Use) -> None:
        """Once a use. Seats with a process are used first."""
        if not use.over:
            use.over = True
            self._free.insert(len(self._free) if use.seat.taken else 0, use.seat)
            self._hand_out()

    def _do_without(self, run: Run, call: Call, error: ProcessStartError) -> None:
        """Leave the call to the processes there are; when there is none, nothing that waits can run."""
        run.waiting.appendleft(call)
        if not any(seat.taken for seat in self._seats):
            for waiting in self._turns:
                waiting.break_waiting(verdicts.cannot_start(str(error)))


def _closed() -> RuntimeError:
    return RuntimeError("The executor is closed: what had not returned did not run to its end.")
