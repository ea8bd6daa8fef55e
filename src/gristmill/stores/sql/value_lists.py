"""Many ids or numbers as one bound parameter: one statement, prepared once, however many there are."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    LargeBinary,
    Select,
    Text,
    bindparam,
    func,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_ID_BYTES = 16


def ids_in(parameter: str) -> Select[tuple[bytes]]:
    """For ``column.in_(...)``: the ids that ``packed_ids`` put into the parameter."""
    packed = bindparam(parameter, type_=LargeBinary)
    positions = select(literal(0).label("position")).cte(f"{parameter}_positions", recursive=True)
    following = positions.c.position + _ID_BYTES
    positions = positions.union_all(select(following).where(following < func.length(packed)))
    return select(func.substr(packed, positions.c.position + 1, _ID_BYTES, type_=LargeBinary))


def packed_ids(ids: Iterable[UUID]) -> bytes:
    return b"".join(each.bytes for each in ids)


def numbers_in(parameter: str) -> Select[tuple[int]]:
    """For ``column.in_(...)``: the numbers that ``packed_numbers`` put into the parameter."""
    return select(_elements(parameter).cast(BigInteger))


def packed_numbers(numbers: Iterable[int] | NDArray[np.int64]) -> str:
    return json.dumps(numbers.tolist() if isinstance(numbers, np.ndarray) else list(numbers))


def texts_in(parameter: str) -> Select[tuple[str]]:
    """For ``column.in_(...)``: the texts that ``packed_texts`` put into the parameter."""
    return select(_elements(parameter))


def packed_texts(texts: Iterable[str]) -> str:
    return json.dumps(list(texts))


class _Elements(FunctionElement[str]):
    """The elements of a JSON list, one a row, in the column ``value``."""

    name = "elements"
    inherit_cache = True


@compiles(_Elements, "sqlite")
def _on_sqlite(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Elements, "postgresql")
def _on_postgres(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"


def _elements(parameter: str) -> ColumnElement[str]:
    packed: BindParameter[str] = bindparam(parameter, type_=Text)
    return _Elements(packed).table_valued("value").c.value
