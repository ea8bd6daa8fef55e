"""What the exit code of a command says."""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.domain.batch import BatchStatus


class ExitCode(IntEnum):
    OK = 0  # Everything completed, or was accepted.
    FAILED = 1  # Nothing completed, or an error; for doctor: it found something.
    USAGE = 2  # The command or a setting is wrong; nothing was changed.
    SOME_FAILED = 3
    TRY_AGAIN = 4  # An outage: the same command can work later.
    CANCELLED = 5
    OUTPUT_CLOSED = 141  # Whoever read our output is gone; 128 + SIGPIPE, as in a shell.


_OF_STATUS = {
    "queued": ExitCode.OK,
    "processing": ExitCode.OK,
    "completed": ExitCode.OK,
    "completed_with_errors": ExitCode.SOME_FAILED,
    "error": ExitCode.FAILED,
    "cancelled": ExitCode.CANCELLED,
}


def of_batches(statuses: "Iterable[BatchStatus]") -> ExitCode:
    """The code that all share, else that some failed."""
    codes = {_OF_STATUS[status] for status in statuses}
    match len(codes):
        case 0:
            return ExitCode.OK
        case 1:
            return codes.pop()
        case _:
            return ExitCode.SOME_FAILED
