"""Facts in and out of their table, as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, delete, select

from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts, EndFact
from gristmill.ports.rows import Kind, WorkerRow, row_of
from gristmill.stores.sql.raw import BulkStatement, RawStatement
from gristmill.stores.sql.tables_replication import facts
from gristmill.stores.sql.transactions import CrossedError
from gristmill.stores.sql.upserts import insert
from gristmill.stores.sql.value_lists import packed_texts, texts_in


@dataclass(frozen=True, slots=True)
class StagedFact:
    """Of the chunks of a version: when they were last staged; the rest are rows of their own."""

    ordinal: int
    write_id: str

    @property
    def token(self) -> str:
        return f"{self.ordinal}|{self.write_id}"


Fact = WorkerRow | StagedFact | DocumentFacts | BatchFacts | EndFact

_T = TypeVar("_T")

_TYPES: dict[Kind, type] = {
    Kind.WORKER: WorkerRow,
    Kind.CHUNKS: StagedFact,
    Kind.DOCUMENT: DocumentFacts,
    Kind.BATCH: BatchFacts,
    Kind.END: EndFact,
}
_OF_PLACES = (facts.c.kind == bindparam("of_kind"), facts.c.place.in_(texts_in("of_places")))
_FIND = RawStatement(select(facts.c.place, facts.c.body).where(*_OF_PLACES))
_TOKENS = RawStatement(select(facts.c.place, facts.c.token).where(*_OF_PLACES))
_FORGET = RawStatement(delete(facts).where(*_OF_PLACES))
_NAMES = ("kind", "place", "token", "body")
_NEW = insert(facts).values({name: bindparam(name) for name in _NAMES})
# Compare-and-set: of a fact that is new here, the token before is one that none has.
_STORE = BulkStatement(
    _NEW.or_update(
        ["kind", "place"],
        {"token": _NEW.excluded.token, "body": _NEW.excluded.body},
        only=facts.c.token == bindparam("before"),
    ),
    (*_NAMES, "before"),
)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{value!r} is no fact.")


# ASCII, as ``columns.json_text`` is.
_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


# Made when they are first needed, each takes some milliseconds.
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def text_of(value: Any) -> str:
    return _encode(_adapter(type(value)).dump_python(value))


def value_of(text: str, kind: type[_T]) -> _T:
    value: _T = _adapter(kind).validate_python(json.loads(text))
    return value


def token_of(fact: Fact) -> str:
    return fact.token if isinstance(fact, StagedFact) else row_of(fact).token


def find(connection: Connection, kind: Kind, place: str, expected: type[_T]) -> _T | None:
    found = find_all(connection, kind, [place]).get(place)
    assert found is None or isinstance(found, expected)
    return found


def find_all(connection: Connection, kind: Kind, places: Iterable[str]) -> dict[str, Fact]:
    """The facts that are there, by place."""
    rows = _FIND.execute(connection, _of(kind, places)).all()
    return {place: value_of(body, _TYPES[kind]) for place, body in rows}


def tokens(connection: Connection, kind: Kind, places: Iterable[str]) -> dict[str, str]:
    rows = _TOKENS.execute(connection, _of(kind, places)).all()
    return {str(place): str(token) for place, token in rows}


def store(connection: Connection, kind: Kind, place: str, fact: Fact, *, before: Fact | None) -> None:
    store_all(connection, kind, [(place, before, fact)])


def store_all(connection: Connection, kind: Kind, changes: Sequence[tuple[str, Fact | None, Fact]]) -> None:
    """Write facts over those that were found. Raises CrossedError if another transaction came between."""
    rows = [
        (int(kind), place, token_of(fact), text_of(fact), "" if before is None else token_of(before))
        for place, before, fact in changes
    ]
    if _STORE.execute(connection, rows) != len(rows):
        raise CrossedError


def forget(connection: Connection, kind: Kind, places: Iterable[str]) -> None:
    _FORGET.execute(connection, _of(kind, places))


def _of(kind: Kind, places: Iterable[str]) -> dict[str, object]:
    return {"of_kind": int(kind), "of_places": packed_texts(places)}
