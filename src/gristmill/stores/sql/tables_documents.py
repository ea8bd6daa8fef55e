"""The tables of collections, documents, versions, chunks, vectors and the inverted index of text search.

Rows refer to each other by short numbers, not by ids: they are what the indexes and posting lists hold.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, UniqueConstraint

from gristmill.stores.sql.columns import Id, Instant, Json, Text
from gristmill.stores.sql.tables import metadata

# Numbers that are never given twice, also after their rows are gone: posting lists and matrix files outlive rows.
sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("task", Text, nullable=False),
    Column("normalised", Boolean, nullable=False),
    # Drawn at random: tells derived files of this database from those of one that was here before.
    Column("incarnation", Id, nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("embedding_no", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Of live versions, kept by the transactions that change documents.
    Column("documents", BigInteger, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("no", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("document_id", Id, nullable=False, unique=True),
    Column("collection_no", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("live_version", Text),
    Column("wanted_version", Text, nullable=False),
    Column("wanted_ordinal", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
Index("ix_documents_source", documents.c.collection_no, documents.c.source, documents.c.document_id)

document_versions = Table(
    "document_versions",
    metadata,
    Column("document_no", BigInteger, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("content_hash", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("title", Text),
    Column("metadata", Json, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    # Its chunks have the numbers from here on, one after the other.
    Column("first_chunk_no", BigInteger, nullable=False),
    # Title and metadata of a version that was staged again, until it is published again.
    Column("restaged", Json),
    sqlite_with_rowid=False,
)
Index("ix_document_versions_pipeline", document_versions.c.pipeline)

# What filters of search can match: pairs of the live version's metadata.
attributes = Table(
    "attributes",
    metadata,
    Column("document_no", BigInteger, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)
Index("ix_attributes_value", attributes.c.key, attributes.c.value, attributes.c.document_no)

chunks = Table(
    "chunks",
    metadata,
    Column("no", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("chunk_id", Id, nullable=False, unique=True),
    Column("document_no", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("idx", Integer, nullable=False),
    # By id, because a chunk may be staged before its vector is there.
    Column("vector_id", Id, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("page", Integer),
    Column("heading", Text, nullable=False),
    Column("text", Text, nullable=False),
    UniqueConstraint("document_no", "version", "idx"),
)
Index("ix_chunks_vector", chunks.c.vector_id)

vectors = Table(
    "vectors",
    metadata,
    Column("no", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("vector_id", Id, nullable=False, unique=True),
    Column("embedding_no", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
Index("ix_vectors_embedding", vectors.c.embedding_no, vectors.c.no)

# One segment is the postings of the chunks of one transaction, or of several such neighbours merged. The chunk
# numbers of two segments of a collection never overlap.
segments = Table(
    "segments",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("collection_no", Integer, nullable=False),
    Column("level", Integer, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("first_chunk_no", BigInteger, nullable=False),
    Column("last_chunk_no", BigInteger, nullable=False),
    # Set while its postings are being moved, term by term, to another segment.
    Column("merging_into", Integer),
)
Index("ix_segments_collection", segments.c.collection_no, segments.c.level)

# Versions that have postings but are not live: staged, or removed and not purged yet.
hidden_versions = Table(
    "hidden_versions",
    metadata,
    Column("collection_no", Integer, primary_key=True),
    Column("first_chunk_no", BigInteger, primary_key=True),
    Column("chunks", Integer, nullable=False),
    Column("removed", Boolean, nullable=False),
    # The segment whose merging leaves these postings out.
    Column("merging_into", Integer),
    sqlite_with_rowid=False,
)

# Clustered by segment, so that a transaction appends its postings instead of touching a page for every term.
postings = Table(
    "postings",
    metadata,
    Column("segment_no", Integer, primary_key=True),
    Column("term", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
