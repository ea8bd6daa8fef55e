"""The triggers that note which rows a transaction changes; made when a database is first paired with another one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, TextClause, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gristmill.ports.rows import Kind
from gristmill.stores.sql import locks
from gristmill.stores.sql.next_facts import NEXT_FACTS
from gristmill.stores.sql.tables_replication import CONFLICT


class ThisTransaction(FunctionElement[int]):
    """The transaction, as ``changed.xact`` names it; on PostgreSQL NULL until it has changed something."""

    type = BigInteger()
    name = "this_transaction"
    inherit_cache = True


_XACT = "CAST(CAST(pg_current_xact_id{}() AS text) AS bigint)"


@compiles(ThisTransaction, "sqlite")
def _on_sqlite(_element: ThisTransaction, _compiler: SQLCompiler, **_options: Any) -> str:
    return "0"


@compiles(ThisTransaction, "postgresql")
def _on_postgres(_element: ThisTransaction, _compiler: SQLCompiler, **_options: Any) -> str:
    return _XACT.format("_if_assigned")


@dataclass(frozen=True, slots=True)
class _Noted:
    """Rows that are noted: where each has its place, and which changes count.

    ``columns``: updates that set one of these; with ``compared`` only if one of them is another one then.
    """

    kind: Kind
    table: str
    place: str
    columns: tuple[str, ...] = ()
    compared: bool = False
    deletes: bool = False

    def place_of(self, row: str, *, postgres: bool) -> str:
        opening, closing = ("encode(", ", 'hex')") if postgres else ("lower(hex(", "))")
        return self.place.format(row=row, hex=opening, end=closing)


_BATCH = (
    "kind", "name", "collection", "priority", "round", "created_at", "updated_at", "total_files", "max_error_rate",
    "error_message", "cancel_requested", "sealed_at", "started_at", "submitter", "options", "hold_streak",
    "hold_cause", "held_since", "held_until", "hold_reason",
)  # fmt: skip
_WORKER = ("host_id", "boot_id", "pid", "process_started", "renewed_at", "lease_seconds")
_DOCUMENT = ("live_version", "wanted_version", "wanted_ordinal", "created_at", "updated_at")
_EVENT = ("ended_at", "body", "delivered_at")
_VERSION = (
    "(SELECT {hex}documents.document_id{end} FROM documents WHERE documents.no = {row}.document_no)"
    " || ':' || {row}.version"
)
_NOTED = (
    _Noted(Kind.WORKER, "workers", "{row}.worker_id", _WORKER, deletes=True),
    _Noted(Kind.COLLECTION, "collections", "{row}.name"),
    _Noted(Kind.VECTOR, "vectors", "CAST({row}.no AS TEXT)"),
    _Noted(Kind.CHUNKS, "document_versions", _VERSION, ("restaged",), deletes=True),
    _Noted(Kind.DOCUMENT, "documents", "{hex}{row}.document_id{end}", _DOCUMENT, deletes=True),
    _Noted(Kind.BATCH, "batches", "{hex}{row}.batch_id{end}", _BATCH, compared=True, deletes=True),
    _Noted(Kind.RECORD, "records", "CAST({row}.no AS TEXT)", ("write_id",)),
    _Noted(Kind.END, "events", "{hex}{row}.event_id{end}", _EVENT, deletes=True),
)


def create(connection: Connection) -> None:
    """Note all that changes from here on, whichever process changes it."""
    if locks.needed(connection):
        connection.exec_driver_sql("; ".join(_on_server()))
        return
    for statement in _on_file():
        connection.exec_driver_sql(statement)


# ruff: noqa: S608 (every part of these statements is a constant)
def _on_file() -> Iterator[str]:
    for noted in _NOTED:
        for verb, event in _events(noted):
            place = noted.place_of("old" if verb == "delete" else "new", postgres=False)
            differs = " OR ".join(f"old.{name} IS NOT new.{name}" for name in noted.columns)
            condition = f"WHEN {differs} " if verb == "update" and noted.compared else ""
            yield (
                f"CREATE TRIGGER note_{noted.table}_{verb} AFTER {event} ON {noted.table} {condition}BEGIN "
                f"INSERT INTO changed (xact, kind, place) SELECT 0, {noted.kind:d}, {place} "
                f"WHERE NOT EXISTS (SELECT 1 FROM changed WHERE xact = 0 AND kind = {noted.kind:d} "
                f"AND place = {place}); END"
            )
    yield (
        "CREATE TRIGGER note_records_delete AFTER DELETE ON records BEGIN "
        f"DELETE FROM marks WHERE kind = {Kind.RECORD:d} AND place = CAST(old.no AS TEXT); END"
    )


def _events(noted: _Noted) -> Iterator[tuple[str, str]]:
    yield "insert", "INSERT"
    if noted.columns:
        yield "update", f"UPDATE OF {', '.join(noted.columns)}"
    if noted.deletes:
        yield "delete", "DELETE"


def _on_server() -> Iterator[str]:
    # What runs now ends before, and what comes is noted.
    yield f"LOCK TABLE {', '.join(each.table for each in _NOTED)} IN SHARE ROW EXCLUSIVE MODE"
    for noted in _NOTED:
        for verb, event in _events(noted):
            row = {"insert": "noted", "update": "NEW", "delete": "OLD"}[verb]
            place = noted.place_of(row, postgres=True)
            # Rows that come by COPY are noted together.
            source = " FROM inserted AS noted" if verb == "insert" else ""
            each = "REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT" if source else "FOR EACH ROW"
            names = [f"{side}.{{}}".format for side in ("OLD", "NEW")]
            old, new = (", ".join(map(name, noted.columns)) for name in names)
            condition = (
                f"WHEN (({old}) IS DISTINCT FROM ({new})) " if verb == "update" and noted.compared else ""
            )
            note = (
                f"INSERT INTO changed (xact, kind, place) SELECT {_XACT.format('')}, {noted.kind:d}, {place}{source} "
                "ON CONFLICT DO NOTHING"
            )
            yield from _trigger(
                f"note_{noted.table}_{verb}", f"{event} ON {noted.table} {each}", condition, note
            )
    yield from _trigger(
        "note_records_delete",
        "DELETE ON records REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT",
        "",
        f"DELETE FROM marks USING deleted WHERE marks.kind = {Kind.RECORD:d} AND marks.place = CAST(deleted.no AS TEXT)",
    )


def _trigger(name: str, event: str, condition: str, note: str) -> Iterator[str]:
    yield (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN {note}; RETURN NULL; END $$"
    )
    yield f"CREATE OR REPLACE TRIGGER {name} AFTER {event} {condition}EXECUTE FUNCTION {name}()"


def note_facts(connection: Connection) -> None:
    """Take every row that has facts as changed, and every fact: its row may have gone while nobody noted it."""
    postgres = locks.needed(connection)
    xact = _XACT.format("") if postgres else "0"
    for noted in _NOTED:
        if noted.kind not in NEXT_FACTS:
            continue
        place = noted.place_of(noted.table, postgres=postgres)
        connection.exec_driver_sql(
            f"INSERT INTO changed (xact, kind, place) "
            f"SELECT {xact}, {noted.kind:d}, {place} FROM {noted.table} WHERE true "
            f"UNION SELECT {xact}, kind, place FROM facts WHERE kind = {noted.kind:d} "
            "ON CONFLICT DO NOTHING"
        )


def mark_more(connection: Connection, *, sequence: int, marked_at: int, most: int) -> int:
    """Mark some of the rows and facts that are not marked; returns how many."""
    postgres = locks.needed(connection)
    sources = [f"SELECT kind, place FROM facts WHERE kind <> {CONFLICT:d}"]
    for noted in _NOTED:
        if noted.kind not in NEXT_FACTS:
            place = noted.place_of(noted.table, postgres=postgres)
            sources.append(f"SELECT {noted.kind:d} AS kind, {place} AS place FROM {noted.table}")
    at = {"sequence": sequence, "marked_at": marked_at, "most": most}
    return sum(connection.execute(_marking(each), at).rowcount for each in sources)


def _marking(source: str) -> TextClause:
    return text(
        "INSERT INTO marks (kind, place, sequence, marked_at) "
        f"SELECT here.kind, here.place, :sequence, :marked_at FROM ({source}) AS here WHERE NOT EXISTS "
        "(SELECT 1 FROM marks AS held WHERE held.kind = here.kind AND held.place = here.place) "
        "LIMIT :most ON CONFLICT DO NOTHING"
    )


def places(connection: Connection, kind: Kind, *, after: str, most: int) -> Sequence[str]:
    """Where rows of the kind are, or facts of it, in order."""
    (noted,) = (each for each in _NOTED if each.kind is kind)
    place = noted.place_of(noted.table, postgres=locks.needed(connection))
    union = text(
        f"SELECT place FROM (SELECT {place} AS place FROM {noted.table} "
        "UNION SELECT place FROM facts WHERE kind = :kind) AS here "
        "WHERE place > :after ORDER BY place LIMIT :most"
    )
    return connection.scalars(union, {"kind": int(kind), "after": after, "most": most}).all()
