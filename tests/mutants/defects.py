"""The list of defects: each is one wrong line that the suite it names must notice."""

from tests.mutants.defect import Defect
from tests.mutants.failover_defects import FAILOVER_DEFECTS
from tests.mutants.replication_defects import REPLICATION_DEFECTS
from tests.mutants.server_defects import SERVER_DEFECTS
from tests.mutants.stores_defects import STORES_DEFECTS


def _batches(name: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, "batches", file, before, after)


def _documents(name: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, "documents", file, before, after)


SQL_DEFECTS = (
    # Claims
    _batches("epoch not raised", "claims.py", '"epoch": records.c.epoch + 1', '"epoch": records.c.epoch'),
    _batches("attempt not counted", "claims.py", "records.c.attempts + 1", "records.c.attempts + 0"),
    _batches(
        "started again at every claim",
        "claims.py",
        '"started_at": func.coalesce(records.c.started_at, bindparam("at"))',
        '"started_at": bindparam("at")',
    ),
    _batches(
        "one write id for all rows",
        "claims.py",
        'bindparam("write", type_=Text) + ROW_TEXT',
        'bindparam("write", type_=Text)',
    ),
    _batches(
        "claimed rows in no order",
        "claims.py",
        "sorted(rows, key=_ORDER)",
        "reversed(rows)",
    ),
    _batches(
        "claim order lost",
        "due.py",
        "_IN_ORDER = (records.c.claim_order, records.c.record_id)",
        "_IN_ORDER = (records.c.record_id,)",
    ),
    _batches(
        "wait ignored",
        "due.py",
        'records.c.next_attempt_at <= bindparam("by")',
        'records.c.next_attempt_at <= bindparam("by") + 10**12',
    ),
    _batches(
        "other batches claimed too",
        "due.py",
        'return [kind, records.c.batch_id == bindparam("of_batch")] if in_batch else [kind]',
        "return [kind]",
    ),
    _batches("stopped batches claimed", "due.py", "    batches.c.cancel_requested.is_not(True),\n", ""),
    _batches(
        "batch not started by its first claim",
        "claims.py",
        "status=case((_NOT_STARTED, BatchStatus.PROCESSING.value), else_=batches.c.status)",
        "status=batches.c.status",
    ),
    _batches(
        "claims not counted",
        "claims.py",
        'pending=batches.c.pending - bindparam("claimed")',
        "pending=batches.c.pending",
    ),
    # Outcomes
    _batches(
        "late outcomes accepted",
        "outcomes.py",
        "if (met is None and not _may_come(claimed, known)) or not moves.meets(met, report):",
        "if met is None and not _may_come(claimed, known):",
    ),
    _batches(
        "outcomes of deleted batches stored",
        "outcomes.py",
        "if (met is None and not _may_come(claimed, known)) or not moves.meets(met, report):",
        "if not moves.meets(met, report):",
    ),
    _batches("refusals not said", "outcomes.py", "refused.append(Refusal(report=report, met=met))", "pass"),
    _batches(
        "same report twice in a call",
        "outcomes.py",
        "met = change.after",
        "met = change.before",
    ),
    _batches(
        "stage shown for records of others",
        "outcomes.py",
        "held.status is RecordStatus.PROCESSING and held.claim == record.claim",
        "held.status is RecordStatus.PROCESSING",
    ),
    # Leases
    _batches(
        "lease of a renewed worker ended",
        "leases.py",
        "if stored is not None and stored > renewed_at:",
        "if False:",
    ),
    _batches("worker not forgotten", "leases.py", "    forget(connection, worker_id)\n", ""),
    # Submission
    _batches(
        "sealed batch takes new items", "submission.py", "if batch.sealed_at is not None:", "if batch.ended:"
    ),
    _batches(
        "created one too many",
        "submission.py",
        "Created(created=created, existing=len(items) - created)",
        "Created(created=len(items), existing=0)",
    ),
    _batches("priority of new records forgotten", "new_rows.py", "now - head_start,", "now,"),
    _batches("sealed total off by one", "submission.py", "total_files=total)", "total_files=total + 1)"),
    _batches(
        "submitter not taken over",
        "submission.py",
        ".values(submitter=new.submitter)",
        ".values(updated_at=now)",
    ),
    # Ends and retries
    _batches(
        "cancel of an ended batch",
        "endings.py",
        "    if batch_rows.batch_of(row).ended:\n        return 0\n",
        "",
    ),
    _batches(
        "cancel takes completed records",
        "endings.py",
        ".where(records.c.batch_id == batch_id, is_open)",
        ".where(records.c.batch_id == batch_id)",
    ),
    _batches(
        "cancel takes other batches",
        "endings.py",
        ".where(records.c.batch_id == batch_id, is_open)",
        ".where(is_open)",
    ),
    # Only another database can bring fewer records than were declared.
    Defect(
        "ends without its declared records",
        "sql replication",
        "endings.py",
        "if not may_end(batch, counters):",
        "if False:",
    ),
    _batches(
        "cleanup takes running batches",
        "endings.py",
        "for table in (records, failures, error_types, batches):",
        "for table in (failures, error_types, batches):",
    ),
    _batches(
        "retry takes permanent failures",
        "reopening.py",
        "wanted if permanent else wanted - PERMANENT_CATEGORIES",
        "wanted",
    ),
    _batches("retry in the old round", "reopening.py", "batch_round=following", "batch_round=row.round"),
    _batches("retry keeps attempts", "reopening.py", "            attempts=0,\n", ""),
    # Looking
    _batches(
        "page order lost", "listings.py", ".order_by(records.c.item_id)", ".order_by(records.c.record_id)"
    ),
    _batches(
        "page repeats its last record",
        "listings.py",
        'records.c.item_id > key_of("records", after, str)[0]',
        'records.c.item_id >= key_of("records", after, str)[0]',
    ),
    _batches("status filter ignored", "listings.py", "page.where(column == status.value)", "page"),
    _batches("oldest batches first", "listings.py", "batches.c.created_at.desc()", "batches.c.created_at"),
    _batches("rare error types first", "views.py", "error_types.c.records.desc()", "error_types.c.records"),
    _batches(
        "oldest messages first", "views.py", "error_types.c.latest_at.desc()", "error_types.c.latest_at"
    ),
    _batches(
        "errors of other batches",
        "views.py",
        "(error_types.c.message)\n    .where(_OF_BATCH)",
        "(error_types.c.message)",
    ),
    # Transactions
    _batches(
        "commit left out",
        "transactions.py",
        "with self._engine.begin() as connection:",
        "with self._engine.connect() as connection:",
    ),
    # Documents
    _documents(
        "staged versions visible",
        "shown.py",
        "_live = and_(documents.c.no == chunks.c.document_no, documents.c.live_version == chunks.c.version)",
        "_live = and_(documents.c.no == chunks.c.document_no)",
    ),
    _documents(
        "published without vectors",
        "documents_publish.py",
        "incomplete = _incomplete(connection, ours)",
        "incomplete: set[int] = set()",
    ),
    _documents(
        "published though superseded",
        "documents_publish.py",
        "if row.wanted_version == wanted[document_id].version",
        "if row is not None",
    ),
    _documents(
        "old chunks kept", "documents_publish.py", "    _DELETE_CHUNKS.execute(connection, ranges)\n", ""
    ),
    _documents("collection filter dropped", "shown.py", "            _also_in_collection,\n", ""),
    _documents(
        "only the first filter counts",
        "shown.py",
        "*(_matching(position).exists() for position in range(filters)),",
        "*(_matching(position).exists() for position in range(min(1, filters))),",
    ),
    _documents(
        "ties in no order",
        "shown.py",
        "return -found.score, found.chunk_id",
        "return -found.score, bytes(255 - byte for byte in found.chunk_id)",
    ),
    _documents(
        "last vector replaces the first",
        "documents_write.py",
        "fresh = [vector_id for vector_id in given if vector_id not in stored]",
        "fresh = [vector_id for vector_id in given if vector_id in stored or True]",
    ),
    _documents(
        "attributes of the old version",
        "documents_publish.py",
        "def replace_attributes(connection: Connection, metadata: Mapping[int, Mapping[str, object]]) -> None:\n",
        "def replace_attributes(connection: Connection, metadata: Mapping[int, Mapping[str, object]]) -> None:\n"
        "    metadata = {}\n",
    ),
    _documents(
        "delete leaves counts",
        "documents_publish.py",
        "count(changes[version.collection_no], version, documents=-1, sign=-1)",
        "pass",
    ),
    _documents(
        "length not normalised", "text_index.py", 'K1 * (1 - B + B * found["length"] / mean_length)', "K1"
    ),
    _documents(
        "hidden chunks counted",
        "text_index.py",
        "np.add.reduceat(visible, starts, dtype=np.int64)",
        "np.array(lengths)",
    ),
    _documents(
        "prefix ignored", "documents_read.py", "_starting_with(storable(under)) if under else {}", "{}"
    ),
    _documents(
        "stale counts the current ones",
        "documents_read.py",
        'document_versions.c.pipeline < bindparam("pipeline"),',
        'document_versions.c.pipeline <= bindparam("pipeline"),',
    ),
    _documents(
        "chunks in no order", "documents_read.py", ".order_by(chunks.c.idx)", ".order_by(chunks.c.chunk_id)"
    ),
    _documents(
        "document page repeats",
        "documents_read.py",
        'documents.c.source > bindparam("behind")',
        'documents.c.source >= bindparam("behind")',
    ),
    _documents(
        "ordinals fall",
        "collection_rows.py",
        "case((sequences.c.last < _BEFORE, _BEFORE), else_=sequences.c.last)",
        "_BEFORE",
    ),
    # Holds and end events
    _batches(
        "held batches claimed",
        "due.py",
        'batches.c.held_until > bindparam("at")',
        'batches.c.held_until > bindparam("at") + 10**15',
    ),
    _batches("shares in no order", "due.py", "sorted(due)[:limit]", "due[:limit]"),
    _batches("probe of a held batch forgotten", "due.py", "max(earliest, until)", "earliest"),
    _batches("hold not kept", "holds.py", "if self._after[batch_id] == self._before[batch_id]:", "if True:"),
    _batches("hold ends with each call", "holds.py", "return hold_of(row)", "return NOT_HELD"),
    _batches(
        "end without its event",
        "endings.py",
        "told = outbox.store(connection, event, created_at=batch.created_at)",
        "told = event",
    ),
    _batches(
        "delivered events told again",
        "outbox.py",
        "events.c.delivered_at.is_(None))\n    oldest_first",
        "events.c.event_id.is_not(None))\n    oldest_first",
    ),
    _batches("cleanup takes untold events", "endings.py", " & events.c.delivered_at.is_not(None)", ""),
    _batches("retry keeps the hold", "reopening.py", "            **NO_HOLD,\n", ""),
)

DEFECTS = SQL_DEFECTS + REPLICATION_DEFECTS + FAILOVER_DEFECTS + STORES_DEFECTS + SERVER_DEFECTS
