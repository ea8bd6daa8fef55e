"""What runs in a pool process: calls from the worker, one at a time and in order, and one answer each.

PoolProcess starts it; nothing imports it in the worker. It keeps its imports few, because every start pays.
"""

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, BinaryIO

from gristmill.domain.failures import Failure, ItemError
from gristmill.executors import limits, verdicts, wire

_TRACEBACK_CHARACTERS = 20_000
# A document makes thousands of objects and hardly a cycle: by Python's own threshold it is searched many times.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main(connection: int, lifeline: int, worker_pid: int) -> None:
    """Serve calls from file descriptor ``connection`` until the worker closes it."""
    sys.argv = ["gristmill-pool-process"]
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    limits.die_with_worker(lifeline, worker_pid)
    limits.be_first_to_go()
    _leave_stopping_to_the_worker()
    os.set_inheritable(connection, False)  # noqa: FBT003  # The parameter is positional-only.
    with os.fdopen(connection, "rb") as calls, os.fdopen(os.dup(connection), "wb") as replies:
        _drop_errors_from_here()
        wire.write_frame(replies, wire.READY)
        _serve(calls, replies)


def _leave_stopping_to_the_worker() -> None:
    """Outlive signals that reach every process of a service at once; the worker decides what to stop.

    Handlers, unlike SIG_IGN, are not inherited by programs that a call starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _outlive)


def _outlive(_number: int, _frame: FrameType | None) -> None:
    pass


def _drop_errors_from_here() -> None:
    """Until now stderr was kept for the worker, in case this process did not come up."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _serve(calls: BinaryIO, replies: BinaryIO) -> None:
    own_pid = os.getpid()
    served = False
    while _serve_one(calls, replies, own_pid, served=served):
        served = True


def _serve_one(calls: BinaryIO, replies: BinaryIO, own_pid: int, *, served: bool) -> bool:
    """Keep nothing of a call alive while waiting for the next one."""
    frame = wire.read_frame(calls)
    if frame is None:
        return False
    kind, answer = _answer(frame[1], served=served)
    if os.getpid() != own_pid:  # The call forked, and its child came back here too.
        os._exit(0)
    wire.write_frame(replies, kind, answer)
    return kind != wire.WORN


def _answer(body: bytes, *, served: bool) -> tuple[bytes, bytes]:
    memory_limit, result_limit = wire.LIMITS.unpack_from(body)
    if served and (left_behind := limits.own_resident_bytes()) > memory_limit // 2:
        return wire.WORN, wire.SIZE.pack(left_behind)
    try:
        limits.cap_memory(memory_limit)
        function, arguments = _read_call(memoryview(body)[wire.LIMITS.size :])
        return wire.RETURNED, _pack(function(*arguments), result_limit)
    except MemoryError:
        return wire.NO_MEMORY, b""
    except BaseException as error:  # noqa: BLE001  # SystemExit too: a call cannot end its pool process.
        return wire.FAILED, _describe(error)


def _read_call(packed: memoryview) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    try:
        function, arguments = pickle.loads(packed)  # noqa: S301  # The worker, our parent, wrote it.
    except MemoryError:
        raise
    except Exception as error:
        raise _RefusedError(verdicts.cannot_travel("The call", error)) from error
    return function, arguments


def _pack(value: Any, result_limit: int) -> bytes:
    try:
        packed = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        raise
    except Exception as error:
        what = f"The result ({type(value).__name__})"
        raise _RefusedError(verdicts.cannot_travel(what, error)) from error
    if len(packed) > result_limit:
        raise _RefusedError(verdicts.result_too_large(len(packed), result_limit))
    return packed


def _describe(error: BaseException) -> bytes:
    failure = verdicts.raised(error)
    trace = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    return pickle.dumps((failure.category.value, failure.message, trace))


class _RefusedError(ItemError):
    """A verdict of ours, carried past the call's own exceptions."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.category, failure.message)
