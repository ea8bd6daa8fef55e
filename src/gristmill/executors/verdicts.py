"""What is said about a call that did not return."""

import signal

from gristmill.domain.failures import Failure, FailureCategory, ItemError

_MESSAGE_CHARACTERS = 2_000


def timed_out(time_limit_seconds: float) -> Failure:
    return Failure(
        FailureCategory.TIMEOUT,
        f"Did not finish within {time_limit_seconds:g} s and was stopped. "
        "If it needs longer, raise `item_timeout_seconds`.",
    )


def out_of_memory(memory_limit_bytes: int) -> Failure:
    return Failure(
        FailureCategory.CRASHED,
        f"Needed more than {_size(memory_limit_bytes)} of memory and was stopped. "
        f"If it may use more, raise `item_memory_bytes` (now {memory_limit_bytes}).",
    )


def crashed(returncode: int) -> Failure:
    """Judge by the exit status as `subprocess` gives it: a signal is negative."""
    if returncode >= 0:
        how = f"ended itself with exit code {returncode}"
    elif -returncode == signal.SIGKILL:
        how = "was killed by SIGKILL, as the system does when the machine runs out of memory"
    else:
        how = f"was killed by {_signal_name(-returncode)}"
    return Failure(FailureCategory.CRASHED, f"The pool process working on it {how}.")


def disconnected() -> Failure:
    return Failure(
        FailureCategory.CRASHED,
        "The pool process working on it broke its connection to the worker and was stopped.",
    )


def cannot_travel(what: str, error: BaseException) -> Failure:
    return _internal(f"{what} cannot travel between processes. {_named(error)}")


def result_too_large(size_bytes: int, limit_bytes: int) -> Failure:
    return _internal(
        f"The result takes {_size(size_bytes)} and at most {_size(limit_bytes)} may travel between processes."
    )


def cannot_start(reason: str) -> Failure:
    return _internal(f"No pool process could be started, so it did not run. {reason}")


def raised(error: BaseException) -> Failure:
    """Judge an exception that came out of the call: an ItemError keeps its category."""
    if isinstance(error, ItemError) and isinstance(error.category, FailureCategory):
        return Failure(error.category, _printable(error))
    return _internal(_named(error))


def _internal(message: str) -> Failure:
    return Failure(FailureCategory.INTERNAL, message[:_MESSAGE_CHARACTERS])


def _named(error: BaseException) -> str:
    text = _printable(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _printable(error: BaseException) -> str:
    """Text that any database takes: lone surrogates, common in file names, are escaped."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # The exception is the user's, and so is its __str__.
        text = "(it cannot be printed)"
    return text[:_MESSAGE_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(size_bytes: int) -> str:
    if size_bytes < 1 << 20:
        return f"{size_bytes} bytes"
    return f"{size_bytes / (1 << 20):,.0f} MiB"
