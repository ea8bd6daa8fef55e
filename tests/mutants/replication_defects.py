"""Defects in replication on SQLite and PostgreSQL."""

from tests.mutants.defect import Defect


def _sql(name: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, "sql replication", file, before, after)


REPLICATION_DEFECTS = (
    _sql(
        "a mark is settled over a newer row",
        "owing.py",
        "return [place for place in held if found.get(place) == tokens[place]]",
        "return held",
    ),
    _sql(
        "a stranger settles", "replication.py", "if not replica_row.knows(connection, peer):", "if not peer:"
    ),
    _sql("a mark in flux is waited for", "mark_rows.py", "skip_locked=True", "skip_locked=False"),
    _sql(
        "lost records keep their places",
        "submission.py",
        "if len(others) > missing_records(batch, batch_rows.counters_of(row).total):",
        "if others:",
    ),
    _sql(
        "chunks that went with an outlived deletion are not sent again by SQL",
        "merging_documents.py",
        "before.ordinal <= facts.deleted",
        "before.ordinal <= 0",
    ),
    _sql("the log of conflicts is owed", "triggers.py", " WHERE kind <> {CONFLICT:d}", ""),
    _sql("what SQL lost is not logged", "merging_documents.py", "owed=place in owed", "owed=False"),
    _sql("merges mark what they brought", "replication.py", "journal.forget_changed(connection)", "pass"),
    _sql(
        "a record ahead of its batch is reopened below itself",
        "reopening.py",
        "round_after(row.round, highest)",
        "round_after(row.round, 0)",
    ),
    _sql("the copy that comes wins", "merging.py", "else newer(stored, record)", "else record"),
    _sql(
        "a completion comes over without its claim",
        "changes.py",
        "return not self.replaces or _same(before, after, _OF_CLAIM)",
        "return True",
    ),
    _sql(
        "nobody looks for what was left",
        "journal.py",
        "return _ANY_LEFT.execute(connection, {}).first() is not None",
        "return False",
    ),
    _sql(
        "merged over facts that are behind",
        "replication.py",
        "journal.capture_left(connection, self._draw)",
        "break",
    ),
    _sql(
        "a copy made again undoes what was done alone",
        "replication.py",
        "merging.refresh(connection, rows, self._draw)",
        "pass",
    ),
    _sql(
        "the number stays",
        "replica_row.py",
        '{"last": numbers.c.last + 1}',
        '{"last": numbers.c.last}',
    ),
    _sql(
        "half a document is shown",
        "merging_documents.py",
        "elif after.live is not None and _place(after, after.live) not in complete:",
        "elif False:",
    ),
    _sql("moves of records are not noted", "triggers.py", '("write_id",)', '("source",)'),
    _sql("what was set aside stays so", "mark_rows.py", "for name in NAMES[2:]}", "for name in NAMES[2:4]}"),
    _sql(
        "tombstones are purged while they are owed",
        "owing.py",
        "marks.c.kind.is_(None), facts.c.body",
        "facts.c.body",
    ),
    _sql(
        "deletions before the pairing are forgotten",
        "triggers.py",
        'kind, place FROM facts WHERE kind = {noted.kind:d} "\n',
        'kind, place FROM facts WHERE kind = -1 "\n',
    ),
    _sql(
        "a worker that is gone is listed for ever",
        "leases.py",
        "if each.worker_id not in gone or holds(connection, each.worker_id)]",
        "if each]",
    ),
    _sql(
        "an earlier life keeps its event",
        "outbox.py",
        "if found.ended_at >= created_at:",
        "if found:",
    ),
)
