"""Pool processes on this machine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial

import structlog

from gristmill.executors import verdicts
from gristmill.executors.runs import Run, Share, Turns
from gristmill.executors.seat import Seat
from gristmill.executors.starting import ProcessStartError
from gristmill.ports.executor import Broken, Call, Returned

log = structlog.get_logger(__name__)


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
            self._turns.leave(run)
            run.fail(_closed())
            await run.stop()
        await asyncio.gather(*(seat.close() for seat in self._seats))

    def _hand_out(self) -> None:
        while self._free and not self._closed and (run := self._turns.next()):
            share, seat = Share(run, self._turns, len(self._seats)), self._free.pop()
            task = run.begin(self._work(seat, share))
            # Not in the task itself: one that is cancelled first never begins.
            task.add_done_callback(partial(self._give_back, seat))

    async def _work(self, seat: Seat, share: Share) -> None:
        try:
            await seat.work(share)
        except ProcessStartError as error:
            share.put_back()
            self._do_without(error)
        except Exception as error:
            log.exception("executor_failed")
            share.break_oldest(verdicts.raised(error))
        finally:
            share.put_back()

    def _give_back(self, seat: Seat, _task: asyncio.Task[None]) -> None:
        """Seats with a process are used first."""
        self._free.insert(len(self._free) if seat.taken else 0, seat)
        self._hand_out()

    def _do_without(self, error: ProcessStartError) -> None:
        """Leave the calls to the processes there are; when there is none, nothing that waits can run."""
        if not any(seat.taken for seat in self._seats):
            for waiting in self._turns:
                waiting.break_waiting(verdicts.cannot_start(str(error)))


def _closed() -> RuntimeError:
    return RuntimeError("The executor is closed: what had not returned did not run to its end.")
