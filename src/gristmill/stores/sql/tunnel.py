"""The SSH tunnel of this process: opened when first needed, and again by itself whenever it is lost.

The database's connections are made in threads that block, so the tunnel has a thread and an event loop of its own.
"""

import asyncio
import threading
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from gristmill.ports.database import TunnelState
from gristmill.ports.errors import ConfigurationError, StoreUnavailableError
from gristmill.stores.sql.dialects import POSTGRESQL
from gristmill.stores.sql.ssh import Forwarding, SshOptions, Target

# Between two attempts; doubled from one to the next.
_SHORTEST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
# What only people can mend is tried no oftener: SSH servers lock out who knocks too much.
_REFUSED_PAUSE_SECONDS = 30.0

_T = TypeVar("_T")


class Tunnel:
    """May be used from any thread; after ``close`` it is opened anew by whoever needs it."""

    def __init__(self, options: SshOptions, target: Target) -> None:
        self._options = options
        self._target = target
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._state = TunnelState(str(options), up=False)
        # Of the attempt that runs or ran last: what it opened, or why it failed. Belongs to the tunnel's own loop.
        self._attempt: asyncio.Future[Forwarding]

    def __str__(self) -> str:
        return str(self._options)

    @property
    def state(self) -> TunnelState:
        return self._state

    def port(self) -> int:
        """The port on 127.0.0.1 that leads to the target; waits for an attempt that runs.

        Raises ConfigurationError or StoreUnavailableError, without a new attempt if the last one was just before.
        """
        return self._ask(self._forwarding()).port

    def check_target(self) -> None:
        """Raises ConfigurationError or StoreUnavailableError if the tunnel is down or does not reach the target."""
        self._ask(self._check_target())

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            if self._thread is not None:
                self._thread.stop()
                self._thread = None
                self._changed(up=False)

    def _ask(self, question: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread(self._keep())
            asked = asyncio.run_coroutine_threadsafe(question, self._thread.loop)
        return asked.result()

    async def _forwarding(self) -> Forwarding:
        return await self._in_time(asyncio.shield(self._attempt))

    async def _check_target(self) -> None:
        await self._in_time((await self._forwarding()).check_target())

    async def _in_time(self, work: Coroutine[Any, Any, _T] | asyncio.Future[_T]) -> _T:
        """Twice the time to connect: an attempt takes up to once, and is over then."""
        seconds = 2 * self._options.connect_seconds
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:
            reason = f"the tunnel through {self} did not answer within {seconds:g} s"
            raise StoreUnavailableError(POSTGRESQL, reason, "Look whether the SSH server hangs.") from error

    async def _keep(self) -> None:
        """Open the tunnel again and again until cancelled."""
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            self._attempt = asyncio.get_running_loop().create_future()
            try:
                await self._open_until_lost()
            except Exception as error:  # noqa: BLE001 (whatever it is, whoever asks gets it)
                self._attempt.set_exception(error)
                self._attempt.exception()  # Looked at, so that nobody reports it as overlooked.
                self._changed(up=False, problem=str(error))
                refused = isinstance(error, ConfigurationError)
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS if refused else pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._changed(up=False, problem="the SSH connection was lost")
                pause = _SHORTEST_PAUSE_SECONDS

    async def _open_until_lost(self) -> None:
        opened = await Forwarding.open(self._options, self._target)
        self._attempt.set_result(opened)
        self._changed(up=True)
        try:
            await opened.lost()
        finally:
            opened.close()

    def _changed(self, *, up: bool, problem: str | None = None) -> None:
        since = datetime.now(UTC) if up != self._state.up or self._state.since is None else self._state.since
        self._state = TunnelState(str(self), up=up, since=since, problem=problem)


class _LoopThread:
    """Runs one coroutine in an event loop of its own until stopped, and whatever is sent to ``loop`` beside it."""

    def __init__(self, main: Coroutine[Any, Any, None]) -> None:
        self.loop = asyncio.new_event_loop()
        self._task = self.loop.create_task(main)
        self._thread = threading.Thread(target=self._run, name="gristmill-tunnel", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._until_cancelled())

    async def _until_cancelled(self) -> None:
        await asyncio.wait([self._task])

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
