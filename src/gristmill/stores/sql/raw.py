"""Statements compiled once for each dialect, for the hot paths: their values go to the driver as they are.

Building, caching and typing a statement anew costs SQLAlchemy about as much as SQLite needs to run it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ARRAY, Connection, CursorResult, Table, any_, bindparam, func, update
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from gristmill.stores.sql.dialects import POSTGRESQL
from gristmill.stores.sql.upserts import insert


@dataclass(frozen=True, slots=True)
class _Compiled:
    """``given``: the values that the statement itself brings."""

    text: str
    names: tuple[str, ...]
    given: Mapping[str, Any]


def _compiled(statement: ClauseElement, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    return _Compiled(str(compiled), tuple(compiled.positiontup or ()), compiled.params)


class RawStatement:
    """Parameters are by name and in stored form (``columns``); those given in the statement itself are kept.

    ``on_postgres`` replaces the statement there; it takes the same parameters.
    """

    def __init__(self, statement: ClauseElement, *, on_postgres: ClauseElement | None = None) -> None:
        self._statement = statement
        self._on_postgres = statement if on_postgres is None else on_postgres
        self._compiled: dict[str, _Compiled] = {}

    def execute(
        self, connection: Connection, parameters: Mapping[str, Any]
    ) -> CursorResult[*tuple[Any, ...]]:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name) or self._compile(dialect)
        values = {**compiled.given, **parameters}
        return connection.exec_driver_sql(compiled.text, tuple(values[name] for name in compiled.names))

    def _compile(self, dialect: Dialect) -> _Compiled:
        chosen = self._on_postgres if dialect.name == POSTGRESQL else self._statement
        return self._compiled.setdefault(dialect.name, _compiled(chosen, dialect))


class BulkStatement:
    """Its parameters are plain tuples in the order of ``names``."""

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._texts: dict[str, str] = {}

    def execute(self, connection: Connection, values: list[tuple[Any, ...]]) -> int:
        """Returns how many rows were written."""
        if not values:
            return 0
        dialect = connection.dialect
        text = self._texts.get(dialect.name) or self._compile(dialect)
        return connection.exec_driver_sql(text, values).rowcount

    def _compile(self, dialect: Dialect) -> str:
        compiled = _compiled(self._statement, dialect)
        assert compiled.names == self._names
        return self._texts.setdefault(dialect.name, compiled.text)


class BulkUpdate:
    """Sets columns of rows that are there: plain tuples in the order of ``names``, then the row's ``no``, each row once.

    PostgreSQL gets all of them in one statement, which costs half of one for each row.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._names = (*names, "no")
        key = table.c.no == bindparam("no_")
        values: dict[str, Any] = {name: bindparam(name) for name in names}
        self._each = BulkStatement(update(table).where(key).values(values), (*names, "no_"))
        lists = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in self._names]
        given = func.unnest(*lists).table_valued(*self._names).render_derived(name="given")
        together: dict[str, Any] = {name: given.c[name] for name in names}
        # Named twice: else PostgreSQL may read the whole table for a few hundred rows.
        chosen = (table.c.no == given.c.no, table.c.no == any_(lists[-1]))
        self._together = RawStatement(update(table).where(*chosen).values(together))

    def execute(self, connection: Connection, values: list[tuple[Any, ...]]) -> None:
        if connection.dialect.name != POSTGRESQL:
            self._each.execute(connection, values)
        elif values:
            lists = map(list, zip(*values, strict=True))
            self._together.execute(connection, dict(zip(self._names, lists, strict=True)))


class BulkInsert:
    """Rows, as plain tuples in the order of ``names``, that cannot be in the table yet: PostgreSQL gets them by COPY."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._table = table
        self._names = tuple(names)
        self._insert = BulkStatement(insert(table).values({name: bindparam(name) for name in names}), names)
        self._copy: tuple[str, list[str]] | None = None

    def execute(self, connection: Connection, values: Iterable[tuple[Any, ...]]) -> int:
        """Returns how many rows were written. PostgreSQL works on the first ones while the others are made."""
        if connection.dialect.name != POSTGRESQL:
            return self._insert.execute(connection, list(values))
        rows = iter(values)
        first = next(rows, None)
        if first is None:
            return 0
        # Who uses no server need not load its driver.
        from gristmill.stores.sql import postgres_copy  # noqa: PLC0415

        if self._copy is None:
            self._copy = postgres_copy.copy_statement(connection, self._table, self._names)
        return postgres_copy.copy(connection, *self._copy, chain([first], rows))
