"""How ids, times and JSON are stored in SQL columns, and the same conversions for rows read raw."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import BigInteger, ColumnElement, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

# Compared by code point on every database, whatever the locale of the server.
Text = sqlalchemy.Text().with_variant(sqlalchemy.Text(collation="C"), "postgresql")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant(moment: datetime) -> int:
    """Integer microseconds since 1970; exact, unlike a float timestamp."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(instant: int) -> datetime:
    return _EPOCH + instant * _MICROSECOND


# ASCII, so that text no database stores (lone surrogates of odd file names) comes back as it was. Made once:
# ``json.dumps`` with separators makes an encoder for every call.
json_text = json.JSONEncoder(separators=(",", ":")).encode


def json_mapping(text: str) -> Mapping[str, Any]:
    return {} if text == "{}" else json.loads(text)


def storable(text: str) -> str:
    """The text with lone surrogates and NUL, which databases refuse, written out as escapes."""
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def only(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Of a partial index: the rows it holds."""
    return {"sqlite_where": condition, "postgresql_where": condition}


class Id(TypeDecorator[UUID]):
    """A UUID as its 16 bytes: half the index of its text, and in the same order."""

    impl = LargeBinary(16)
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else value.bytes

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> UUID | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else UUID(bytes=value)


class Instant(TypeDecorator[datetime]):
    """An aware time as integer microseconds, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else instant(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else moment(value)


class Json(TypeDecorator[Any]):
    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else json.loads(value)
