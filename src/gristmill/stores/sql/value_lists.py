"""Many ids or numbers as one bound parameter: one statement, prepared once, however many there are."""

import json
from collections.abc import Iterable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, Integer, LargeBinary, Select, bindparam, func, literal, select

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
    packed: BindParameter[bytes] = bindparam(parameter)
    return select(func.json_each(packed).table_valued("value").c.value.cast(Integer))


def packed_numbers(numbers: Iterable[int] | NDArray[np.int64]) -> str:
    return json.dumps(numbers.tolist() if isinstance(numbers, np.ndarray) else list(numbers))


def texts_in(parameter: str) -> Select[tuple[str]]:
    """For ``column.in_(...)``: the texts that ``packed_texts`` put into the parameter."""
    return select(func.json_each(bindparam(parameter)).table_valued("value").c.value)


def packed_texts(texts: Iterable[str]) -> str:
    return json.dumps(list(texts))
