"""Defects in what is special about PostgreSQL and Qdrant; the suites are those of their servers."""

from tests.mutants.defect import Defect


def _postgres(name: str, suite: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, f"postgres {suite}", file, before, after)


def _qdrant(name: str, suite: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, f"qdrant {suite}", file, before, after, folder="stores/qdrant")


POSTGRES_DEFECTS = (
    _postgres(
        "any SSH server is trusted",
        "tunnel",
        "ssh.py",
        "        self.seen = key\n        return False",
        "        self.seen = key\n        return True",
    ),
    _postgres(
        "a certificate for the end of the tunnel",
        "tunnel",
        "postgres.py",
        'local = {"hostaddr": "127.0.0.1",',
        'local = {"host": "127.0.0.1",',
    ),
    _postgres(
        "a lost tunnel stays lost",
        "tunnel",
        "tunnel.py",
        'self._changed(up=False, problem="the SSH connection was lost")',
        "return",
    ),
    _postgres(
        "what is stored later is not in the index",
        "hnsw",
        "hnsw_building.py",
        "FROM fresh WHERE embedding_no",
        "FROM fresh WHERE false AND embedding_no",
    ),
    _postgres(
        "negative numbers are positive in the index",
        "hnsw",
        "hnsw_building.py",
        "* (1 - (u >> 22 & 2))",
        "* 1",
    ),
    _postgres(
        "what the index does not bring is not found",
        "hnsw",
        "hnsw.py",
        "return shown.among(_compared(connection, row, unit, shown.allowed(VECTOR)), VECTOR, limit)",
        "return []",
    ),
    _postgres(
        "no row is locked",
        "at once",
        "locks.py",
        "return connection.dialect.name == POSTGRESQL",
        "return False",
    ),
    _postgres(
        "claimers take the same rows",
        "at once",
        "due.py",
        '.suffix_with("FOR NO KEY UPDATE OF records SKIP LOCKED FOR KEY SHARE OF batches SKIP LOCKED")',
        "",
    ),
    _postgres(
        "two submit to one batch at once",
        "at once",
        "locks.py",
        "        connection.execute(_ONE_BY_ONE,",
        "        print(_ONE_BY_ONE,",
    ),
    _postgres(
        "first records by a sort of all",
        "at once",
        "due.py",
        "SET LOCAL enable_sort = off",
        "SET LOCAL enable_sort = on",
    ),
    _postgres(
        "text in the order of the server's language",
        "opening",
        "columns.py",
        'sqlalchemy.Text(collation="C")',
        'sqlalchemy.Text(collation="en-x-icu")',
    ),
    _postgres(
        "commits are not waited for",
        "trouble",
        "postgres.py",
        "SET synchronous_commit = on;",
        "SET synchronous_commit = off;",
    ),
    _postgres(
        "a wrong password is an outage",
        "opening",
        "postgres_errors.py",
        'authentication failed": "28"',
        'authentication failed": "53300"',
    ),
    _postgres("a server that ends is a bug", "trouble", "postgres_errors.py", '    "57P": _LATER,\n', ""),
    _postgres("a standby is a bug", "trouble", "postgres_errors.py", '    "25006": ', '    "2500X": '),
    _postgres(
        "a mistake of ours is an outage",
        "trouble",
        "postgres_errors.py",
        '    "40001": _LATER,\n',
        '    "40001": _LATER,\n    "42": _LATER,\n    "22": _LATER,\n    "23": _LATER,\n',
    ),
    _postgres(
        "a broken connection is handed out again",
        "trouble",
        "postgres.py",
        "pool_pre_ping=True",
        "pool_pre_ping=False",
    ),
    _postgres(
        "a cancelled statement runs on",
        "trouble",
        "postgres.py",
        "            driver.cancel_safe(timeout=min(INTERRUPT_SECONDS, self.connect_seconds))",
        "            return",
    ),
)

QDRANT_DEFECTS = (
    _qdrant(
        "writes without comparing",
        "races",
        "points.py",
        "where(any_of(TOKEN, expected), *also) if expected else NEVER",
        "None",
    ),
    _qdrant(
        "what is there is overwritten",
        "batches",
        "points.py",
        "await self._write(points, NEVER)",
        "await self._write(points, None)",
    ),
    _qdrant("every write is thought to have won", "races", "points.py", ")) == len(ours):", ")) >= 0:"),
    _qdrant(
        "one point is swapped without comparing",
        "races",
        "points.py",
        "points=where(has_id([UUID(str(new.id))]), equals(TOKEN, expected))",
        "points=where(has_id([UUID(str(new.id))]))",
    ),
    _qdrant(
        "merges take away marks set since they last brought the row",
        "replication",
        "merging_records.py",
        "unmarked = _UNMARKED if known else ()",
        "unmarked = ()",
    ),
    _qdrant(
        "an older copy replaces the one that merges brought last",
        "replication",
        "known.py",
        "version is not None and version < record.version:",
        "version is not None:",
    ),
    _qdrant(
        "a seal counts once",
        "races",
        "submission.py",
        "            stored = await self._declare(batch_id)\n",
        "            stored = await self._batch(batch_id)\n",
    ),
    _qdrant(
        "records slip in under a seal",
        "races",
        "submission.py",
        "if now.facts.seal is not None and created:",
        "if False:",
    ),
    _qdrant(
        "ended while records are reopened",
        "races",
        "endings.py",
        "if stored.reopening_until > instant(write.now):",
        "if False:",
    ),
    _qdrant(
        "claimed before their time",
        "batches",
        "claims.py",
        'within("next_attempt_at", lte=instant(now))]',
        'within("next_attempt_at", gte=0)]',
    ),
    _qdrant(
        "stopped batches are claimed from",
        "batches",
        "claims.py",
        "    return stored is None or stored.facts.cancelled or stored.status is not None",
        "    return stored is None",
    ),
    _qdrant(
        "of equal age in any order",
        "batches",
        "claims.py",
        '            rows = [row for row in rows if row["claim_order"] < last]\n',
        "            rows = rows[:limit]\n",
    ),
    _qdrant(
        "hits of other versions are shown",
        "documents",
        "search.py",
        'or stored.staging != chunk["staging"]:',
        "or False:",
    ),
    _qdrant(
        "vectors as long as they came",
        "documents",
        "documents_show.py",
        "values / length if length else values",
        "values",
    ),
    _qdrant(
        "text scores as Qdrant adds them",
        "documents",
        "search.py",
        "lambda each: bm25.score(each.payload or {}), bm25.most",
        "lambda each: each.score, bm25.most",
    ),
    _qdrant(
        "a busy server is a bug",
        "trouble",
        "connection.py",
        "if status >= 500 or status in _BUSY:",
        "if False:",
    ),
    _qdrant("a refused key is a bug", "trouble", "connection.py", "_NO_KEY = {401, 403}", "_NO_KEY = {499}"),
    _qdrant(
        "a newer schema is opened",
        "trouble",
        "schema.py",
        'if stored["schema"] != VERSION:',
        "if False:",
    ),
    _qdrant(
        "other dimensions are taken",
        "trouble",
        "schema.py",
        "        if stored != wanted:",
        "        if False:",
    ),
)

SERVER_DEFECTS = POSTGRES_DEFECTS + QDRANT_DEFECTS
