"""Statements compiled once, for the hot paths: their values go to the driver as they are.

Building, caching and typing a statement anew costs SQLAlchemy about as much as SQLite needs to run it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql import ClauseElement


class RawStatement:
    """Parameters are by name and in stored form (``columns``); those given in the statement itself are kept."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=dialect())
        self._text = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup)
        self._given: Mapping[str, Any] = compiled.params

    def execute(
        self, connection: Connection, parameters: Mapping[str, Any]
    ) -> CursorResult[*tuple[Any, ...]]:
        values = {**self._given, **parameters}
        return connection.exec_driver_sql(self._text, tuple(values[name] for name in self._names))


class BulkStatement:
    """Its parameters are plain tuples in the order of ``names``."""

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect())
        assert list(compiled.positiontup) == list(names)
        self._text = str(compiled)

    def execute(self, connection: Connection, values: list[tuple[Any, ...]]) -> int:
        """Returns how many rows were written."""
        return connection.exec_driver_sql(self._text, values).rowcount if values else 0
