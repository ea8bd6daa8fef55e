"""What goes with a tombstone, and what goes once nobody needs it."""

from gristmill.domain.document_facts import DocumentFacts
from gristmill.domain.facts import BatchFacts
from gristmill.stores.memory.tables import Tables


def forget_batch(tables: Tables, facts: BatchFacts) -> None:
    """Drop the records that the batch forgets, and the delivered events of its earlier lives."""
    for record in list(tables.records.get(facts.batch_id, {}).values()):
        if facts.forgets(record):
            tables.drop(record)
    forget_told_ends(tables, facts)


def forget_told_ends(tables: Tables, facts: BatchFacts) -> None:
    """A told end stays for as long as the other database has not heard that it was told."""
    for end in list(tables.ends.values()):
        past = facts.deleted is not None or end.life < facts.life
        if end.event.batch_id == facts.batch_id and end.delivered and past and not tables.is_owed(end):
            tables.drop(end)


def forget_versions(tables: Tables, facts: DocumentFacts) -> None:
    """Drop the chunks of versions that the document cannot need any more."""
    for row in list(tables.chunks.get(facts.document_id, {}).values()):
        if not facts.needs(row.content.version, row.ordinal):
            tables.drop(row)
