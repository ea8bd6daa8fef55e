"""Whatever happens becomes an exit code and a sentence; a user never sees a traceback."""
# ruff: noqa: PLC0415 - see running.

import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from gristmill.cli import output
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.running import Interruption, SettingsError
from gristmill.cli.schema import RevisionError
from gristmill.ports import errors


@dataclass(frozen=True, slots=True)
class _Ending:
    code: int
    kind: str
    message: str


def listen_to_signals() -> None:
    """Let SIGINT and SIGTERM raise Interruption wherever no event loop listens to them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def finish(command: Callable[[], Any], *, as_json: bool) -> int:
    """Run the command; returns the exit code after whatever went wrong was said."""
    try:
        code = int(command() or 0)
        sys.stdout.flush()
    except (output.OutputClosedError, BrokenPipeError):
        output.silence(sys.stdout)
        return ExitCode.OUTPUT_CLOSED
    except (Exception, Interruption) as error:  # noqa: BLE001 - this is where every error ends.
        return _say(_ending(error), as_json=as_json)
    return code


def _interrupt(number: int, _frame: object) -> None:
    raise Interruption(number)


def _say(ending: _Ending, *, as_json: bool) -> int:
    try:
        if as_json:
            output.print_json({"error": {"kind": ending.kind, "message": ending.message}})
        elif ending.message:
            output.say(output.safe_lines(ending.message))
    except output.OutputClosedError:
        output.silence(sys.stdout)
    return ending.code


def _ending(error: BaseException) -> _Ending:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if _debugging():
        traceback.print_exception(error)
    match error:
        case Interruption():
            return _Ending(error.exit_code, "interrupted", str(error))
        case typer.TyperException():
            return _Ending(error.exit_code, "usage", _usage(error))
        case typer.Abort():
            return _Ending(ExitCode.CANCELLED, "aborted", "Nothing was changed.")
        case errors.StoreUnavailableError():
            return _Ending(ExitCode.TRY_AGAIN, "store_unavailable", _outage(error))
        case errors.GristmillError():
            code = ExitCode.USAGE if _is_usage(error) else ExitCode.FAILED
            return _Ending(code, _kind(error), str(error))
        case _:
            return _Ending(ExitCode.FAILED, "internal", _unexpected(error))


def _outage(error: errors.StoreUnavailableError) -> str:
    if isinstance(error, errors.AllStoresUnavailableError):
        return f"{error} Then run the same command again: it has ended, and nothing tries it again by itself."
    return str(error)


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = "gristmill" if context is None else context.command_path
    message = error.format_message().replace(": Value error, ", ": ")  # pydantic's word for a ValueError.
    return f"{message}\nTry `{path} --help`." if message else ""


def _is_usage(error: errors.GristmillError) -> bool:
    from gristmill.commands.ingest import OtherCollectionError, PathNotFoundError
    from gristmill.insights.search import BadQueryError

    return isinstance(
        error,
        SettingsError
        | RevisionError
        | PathNotFoundError
        | OtherCollectionError
        | BadQueryError
        | errors.BatchNotFoundError
        | errors.BatchConflictError
        | errors.CollectionNotFoundError
        | errors.CollectionConflictError
        | errors.DocumentNotFoundError,
    )


def _kind(error: Exception) -> str:
    """BatchConflictError is ``batch_conflict``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _unexpected(error: BaseException) -> str:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return (
        f"Something unexpected went wrong ({what}). What was done before is kept. `gristmill doctor` looks for "
        "the cause; with GRISTMILL_LOG_LEVEL=debug the same command shows a traceback to report."
    )


def _debugging() -> bool:
    return os.environ.get("GRISTMILL_LOG_LEVEL", "").lower() == "debug" or logging.getLogger().isEnabledFor(
        logging.DEBUG
    )
