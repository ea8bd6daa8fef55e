"""How times, text and JSON are stored in payloads."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from gristmill.domain.record import microseconds as instant
from gristmill.domain.versions import Ending, Step, Version

__all__ = [
    "instant",
    "instant_or_none",
    "json_text",
    "json_value",
    "moment",
    "moment_or_none",
    "storable",
    "version_of",
    "version_text",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# As text, so that whatever JSON a user gives comes back as it was: numbers of any size, and text in ASCII escapes.
json_text = json.JSONEncoder(separators=(",", ":")).encode


def json_value(text: str) -> Any:
    return json.loads(text)


def moment(instant: int) -> datetime:
    return _EPOCH + instant * _MICROSECOND


def instant_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else instant(moment)


def moment_or_none(instant: int | None) -> datetime | None:
    return None if instant is None else moment(instant)


def storable(text: str) -> str:
    """The text with lone surrogates and NUL, which databases refuse, written out as escapes."""
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def version_text(version: Version) -> str:
    """A version as one value; records have a field for each part instead."""
    return json_text(
        [
            version.tombstone,
            version.round,
            version.ending.value,
            version.epoch,
            version.step.value,
            version.revision,
            version.stamp,
            version.write_id,
        ]
    )


def version_of(text: str) -> Version:
    tombstone, batch_round, ending, epoch, step, revision, stamp, write_id = json_value(text)
    return Version(tombstone, batch_round, Ending(ending), epoch, Step(step), revision, stamp, write_id)
