"""Logs go to stderr; a traceback shows only at level debug."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def configure(level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    debugging = number <= logging.DEBUG
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not debugging:
        processors.append(_without_traceback)
    # Plain tracebacks: the fancy ones print local variables, which may hold what users keep to themselves.
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    # Libraries below ours say little of use above debug.
    others = logging.DEBUG if debugging else logging.ERROR
    logging.basicConfig(
        level=others, stream=sys.stderr, format="%(asctime)s [%(levelname)s] %(name)s %(message)s"
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _without_traceback(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    error = event.pop("exc_info", None)
    if error:
        found = sys.exception() if error is True else error
        event["error"] = (
            f"{type(found).__name__}: {found}" if isinstance(found, BaseException) else str(found)
        )
    return event
