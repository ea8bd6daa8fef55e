"""Starts pool processes."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import IO

from gristmill.executors.connection import Connection, ConnectionLostError
from gristmill.executors.limits import ONE_THREAD_EACH
from gristmill.executors.process import PoolProcess

# Not multiprocessing: its spawn imports the caller's __main__ again and keeps a tracker process, and its fork
# copies a process that has threads.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from gristmill.executors.pool_process import main; main(*map(int, sys.argv[1:4]))"
)
_START_SECONDS = 60
_ERROR_BYTES = 1_000

# Room for the answers of small documents that are prepared together: a pool process then goes on with its next call
# while the worker is busy, instead of waiting until it has read this one. Some kernels allow less.
_ANSWER_BYTES = 1 << 20


class ProcessStartError(Exception):
    """A pool process did not come up; the text says why."""


async def start_process(python: str) -> PoolProcess:
    """Start ``python`` as a pool process that finds modules where this process does.

    Raises ProcessStartError, and leaves nothing behind then.
    """
    try:
        with tempfile.TemporaryFile() as errors:
            return await _wait_for(_spawn(python, errors), errors)
    except OSError as error:
        raise ProcessStartError(f"{error}.") from error


async def _wait_for(process: PoolProcess, errors: IO[bytes]) -> PoolProcess:
    try:
        async with asyncio.timeout(_START_SECONDS):
            await process.wait_until_ready()
    except TimeoutError as error:
        await process.end()
        raise ProcessStartError(f"It was not ready after {_START_SECONDS} s.") from error
    except ConnectionLostError as error:
        await process.end()
        raise ProcessStartError(_last_words(process, errors)) from error
    except BaseException:
        await process.end()
        raise
    return process


def _spawn(python: str, errors: IO[bytes]) -> PoolProcess:
    with ExitStack() as its_ends, ExitStack() as our_ends:
        ours, theirs = socket.socketpair()
        our_ends.callback(ours.close)
        its_ends.callback(theirs.close)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ANSWER_BYTES)
        watched, lifeline = os.pipe()
        our_ends.callback(os.close, lifeline)
        its_ends.callback(os.close, watched)
        popen = subprocess.Popen(  # noqa: S603  # No shell, and nothing here comes from a user's file.
            [python, "-c", _BOOT, *map(str, (theirs.fileno(), watched, os.getpid())), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(theirs.fileno(), watched),
            env={**os.environ, **ONE_THREAD_EACH},
            start_new_session=True,
        )
        our_ends.pop_all()
    return PoolProcess(popen, Connection(ours), lifeline)


def _last_words(process: PoolProcess, errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - _ERROR_BYTES))
    words = errors.read().decode("utf-8", "replace").strip()
    return f"It ended with status {process.returncode} before it was ready. {words}".rstrip()
