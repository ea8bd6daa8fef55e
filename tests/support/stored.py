"""What the database of one home holds, read past the product: to compare two of them, and to find what must not be."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

_NEVER = {
    "batches whose counters differ from their records": """
        SELECT * FROM batches AS b WHERE (pending, processing, completed, failed, cancelled) != (
            SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'processing'),
                count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
                count(*) FILTER (WHERE status = 'cancelled')
            FROM records WHERE records.batch_id = b.batch_id)""",
    "ended batches with open records": """
        SELECT * FROM batches WHERE completed_at IS NOT NULL AND pending + processing > 0""",
    "batches that ended without one event of it, or have one before their end": """
        SELECT * FROM batches AS b
        WHERE (completed_at IS NOT NULL) != (SELECT count(*) FROM events AS e WHERE e.batch_id = b.batch_id)""",
    "records with more attempts than there may be": "SELECT * FROM records WHERE attempts > 4",
    "records that are in work and held by nobody, or held and not in work": """
        SELECT * FROM records WHERE (status = 'processing') != (worker IS NOT NULL)""",
    "live versions without their row": """
        SELECT * FROM documents WHERE live_version IS NOT NULL
        AND (no, live_version) NOT IN (SELECT document_no, version FROM document_versions)""",
    "versions without all of their chunks": """
        SELECT * FROM document_versions AS v WHERE v.chunks != (
            SELECT count(*) FROM chunks AS c WHERE c.document_no = v.document_no AND c.version = v.version
            AND c.no BETWEEN v.first_chunk_no AND v.first_chunk_no + v.chunks - 1)""",
    "chunks of no version": """
        SELECT * FROM chunks WHERE (document_no, version) NOT IN (SELECT document_no, version FROM document_versions)""",
    "live chunks without a vector": """
        SELECT * FROM chunks JOIN documents AS d ON d.no = document_no AND d.live_version = version
        WHERE vector_id NOT IN (SELECT vector_id FROM vectors)""",
    "collections whose counters differ from their live versions": """
        SELECT * FROM collections AS c WHERE (documents, chunks, tokens) != (
            SELECT count(*), coalesce(sum(v.chunks), 0), coalesce(sum(v.tokens), 0) FROM document_versions AS v
            JOIN documents AS d ON d.no = v.document_no AND d.live_version = v.version
            WHERE d.collection_no = c.no)""",
}
_NOT_AT_THE_END = {
    "batches that have not ended as completed": """
        SELECT * FROM batches WHERE status != 'completed' OR completed_at IS NULL OR sealed_at IS NULL""",
    "records that are not completed": "SELECT * FROM records WHERE status != 'completed'",
    "workers that were not forgotten": "SELECT * FROM workers",
    "documents whose wanted version is not live": """
        SELECT * FROM documents WHERE live_version IS NOT wanted_version""",
    "versions that are not live": """
        SELECT * FROM document_versions WHERE (document_no, version) NOT IN (SELECT no, live_version FROM documents)""",
    "versions that were staged again and not published": """
        SELECT * FROM document_versions WHERE restaged IS NOT NULL""",
    "versions that search still hides": "SELECT * FROM hidden_versions",
    "merges of the text index that stopped half way": "SELECT * FROM segments WHERE merging_into IS NOT NULL",
    "postings of no segment": "SELECT * FROM postings WHERE segment_no NOT IN (SELECT no FROM segments)",
    "vectors of no chunk": "SELECT * FROM vectors WHERE vector_id NOT IN (SELECT vector_id FROM chunks)",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """All that an ingest leaves to be found, without times and without numbers that are given in order of arrival."""

    documents: Mapping[bytes, tuple[Any, ...]]
    chunks: Mapping[bytes, tuple[Any, ...]]
    vectors: Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class BatchState:
    sealed: bool
    ended: bool
    retries: Mapping[str, int]  # By source.


def contents(home: Path) -> Contents:
    with _reading(home) as database:
        documents = database.execute(
            """SELECT d.document_id, c.name, d.source, v.version, v.content_hash, v.pipeline, v.title, v.metadata,
                v.chunks, v.tokens FROM documents AS d JOIN collections AS c ON c.no = d.collection_no
            JOIN document_versions AS v ON v.document_no = d.no"""
        )
        chunks = database.execute(
            """SELECT c.chunk_id, d.document_id, c.version, idx, vector_id, start, "end", page, heading, text
            FROM chunks AS c JOIN documents AS d ON d.no = c.document_no"""
        )
        vectors = database.execute("SELECT vector_id, data FROM vectors")
        return Contents(
            documents={row[0]: row[1:] for row in documents},
            chunks={row[0]: (*row[1:-1], _hash(row[-1].encode())) for row in chunks},
            vectors={vector_id: _hash(data) for vector_id, data in vectors},
        )


def batch_state(home: Path, batch_id: UUID) -> BatchState | None:
    """None when there is no such batch, or not even its table."""
    try:
        with _reading(home) as database:
            row = database.execute(
                "SELECT sealed_at, completed_at FROM batches WHERE batch_id = ?", [batch_id.bytes]
            ).fetchone()
            retries = database.execute(
                "SELECT source, retries_total FROM records WHERE batch_id = ?", [batch_id.bytes]
            )
            return row and BatchState(row[0] is not None, row[1] is not None, dict(retries.fetchall()))
    except sqlite3.OperationalError:
        return None


def problems(home: Path, *, ended: bool) -> dict[str, list[Any]]:
    """Rows that must never be there, and with ``ended`` those that must not be there after the end, by what is wrong."""
    with _reading(home) as database:
        queries = _NEVER | _NOT_AT_THE_END if ended else _NEVER
        rows = {wrong: database.execute(query).fetchall() for wrong, query in queries.items()}
        damage = [row for row in database.execute("PRAGMA integrity_check") if row != ("ok",)]
        return {wrong: found for wrong, found in (rows | {"damage": damage}).items() if found}


@contextmanager
def _reading(home: Path) -> Iterator[sqlite3.Connection]:
    path = home / "gristmill.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)) as database:
        yield database


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
