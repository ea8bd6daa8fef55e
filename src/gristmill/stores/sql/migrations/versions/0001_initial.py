"""The first schema."""

import sqlalchemy as sa
from alembic import op

from gristmill.stores.sql.migrations.columns import Text, only

revision = "0001"
down_revision = None


def upgrade() -> None:
    _batches()
    create_records()
    _figures()
    _workers()
    _collections()
    _documents()
    _chunks()
    _text_index()


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("name", Text),
        sa.Column("collection", Text),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("total_files", sa.BigInteger(), nullable=False),
        sa.Column("max_error_rate", sa.Float()),
        sa.Column("error_message", Text),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("completed_at", sa.BigInteger()),
        sa.Column("submitter", Text),
        sa.Column("options", Text, nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("processing", sa.BigInteger(), nullable=False),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("completed_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("first_started_at", sa.BigInteger()),
        sa.Column("last_ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("batch_id", name="pk_batches"),
    )
    op.create_index("ix_batches_completed", "batches", ["completed_at"], **only("completed_at IS NOT NULL"))
    op.create_index("ix_batches_created", "batches", [sa.text("created_at DESC"), "batch_id"])
    op.create_index("ix_batches_open", "batches", ["batch_id"], **only("completed_at IS NULL"))


def create_records() -> None:
    op.create_table(
        "records",
        sa.Column("record_id", sa.LargeBinary(16), nullable=False),
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("item_id", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("source", Text),
        sa.Column("payload", Text, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("claim_order", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("stage", Text, nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retries_total", sa.Integer(), nullable=False),
        sa.Column("claim_id", Text),
        sa.Column("worker", Text),
        sa.Column("error_category", Text),
        sa.Column("error_message", Text),
        sa.Column("last_error_at", sa.BigInteger()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("result", Text),
        sa.Column("tombstone", sa.Boolean(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("ending", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("write_id", Text, nullable=False),
        sa.Column("owed", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Boolean()),
        sa.Column("error_key", sa.LargeBinary(16)),
        sa.PrimaryKeyConstraint("record_id", name="pk_records"),
        sa.UniqueConstraint("batch_id", "item_id", name="uq_records_batch_id_item_id"),
    )
    op.create_index(
        "ix_records_batch_due",
        "records",
        ["batch_id", "kind", "claim_order", "record_id"],
        **only("due = 1", on_postgres="due"),
    )
    op.create_index(
        "ix_records_batch_waiting",
        "records",
        ["batch_id", "kind", "next_attempt_at"],
        **only("due = 0", on_postgres="NOT due"),
    )
    op.create_index(
        "ix_records_category",
        "records",
        ["batch_id", "error_category", "item_id", "status"],
        **only("error_category IS NOT NULL"),
    )
    op.create_index(
        "ix_records_due",
        "records",
        ["kind", "claim_order", "record_id"],
        **only("due = 1", on_postgres="due"),
    )
    op.create_index(
        "ix_records_error",
        "records",
        ["batch_id", "error_key", "last_error_at"],
        **only("error_key IS NOT NULL"),
    )
    op.create_index(
        "ix_records_failed",
        "records",
        ["batch_id", "error_category", "status", "last_error_at", "item_id"],
        **only("error_category IS NOT NULL"),
    )
    op.create_index("ix_records_status", "records", ["batch_id", "status", "item_id"])
    op.create_index(
        "ix_records_waiting", "records", ["kind", "next_attempt_at"], **only("due = 0", on_postgres="NOT due")
    )
    op.create_index("ix_records_worker", "records", ["worker"], **only("worker IS NOT NULL"))


def _figures() -> None:
    op.create_table(
        "failures",
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("category", Text, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "category", "attempts", name="pk_failures"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "error_types",
        sa.Column("batch_id", sa.LargeBinary(16), nullable=False),
        sa.Column("error_key", sa.LargeBinary(16), nullable=False),
        sa.Column("category", Text, nullable=False),
        sa.Column("message", Text, nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("latest_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "error_key", name="pk_error_types"),
    )
    op.create_index("ix_error_types_latest", "error_types", ["batch_id", "latest_at"])
    op.create_index(
        "ix_error_types_records", "error_types", ["batch_id", sa.text("records DESC"), "category", "message"]
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("worker_id", Text, nullable=False),
        sa.Column("host_id", Text, nullable=False),
        sa.Column("boot_id", Text, nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Float(), nullable=False),
        sa.Column("renewed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_workers"),
    )


def _collections() -> None:
    op.create_table(
        "sequences",
        sa.Column("name", Text, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sequences"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "embeddings",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("provider", Text, nullable=False),
        sa.Column("model", Text, nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("task", Text, nullable=False),
        sa.Column("normalised", sa.Boolean(), nullable=False),
        sa.Column("incarnation", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_embeddings"),
        sa.UniqueConstraint("key", name="uq_embeddings_key"),
    )
    op.create_table(
        "collections",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("embedding_no", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_collections"),
        sa.UniqueConstraint("name", name="uq_collections_name"),
    )


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("document_id", sa.LargeBinary(16), nullable=False),
        sa.Column("collection_no", sa.Integer(), nullable=False),
        sa.Column("source", Text, nullable=False),
        sa.Column("live_version", Text),
        sa.Column("wanted_version", Text, nullable=False),
        sa.Column("wanted_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_documents"),
        sa.UniqueConstraint("document_id", name="uq_documents_document_id"),
    )
    op.create_index("ix_documents_source", "documents", ["collection_no", "source", "document_id"])
    op.create_table(
        "document_versions",
        sa.Column("document_no", sa.BigInteger(), nullable=False),
        sa.Column("version", Text, nullable=False),
        sa.Column("content_hash", Text, nullable=False),
        sa.Column("pipeline", Text, nullable=False),
        sa.Column("title", Text),
        sa.Column("metadata", Text, nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("first_chunk_no", sa.BigInteger(), nullable=False),
        sa.Column("restaged", Text),
        sa.PrimaryKeyConstraint("document_no", "version", name="pk_document_versions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_document_versions_pipeline", "document_versions", ["pipeline"])
    op.create_table(
        "attributes",
        sa.Column("document_no", sa.BigInteger(), nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.PrimaryKeyConstraint("document_no", "key", "value", name="pk_attributes"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attributes_value", "attributes", ["key", "value", "document_no"])


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chunk_id", sa.LargeBinary(16), nullable=False),
        sa.Column("document_no", sa.BigInteger(), nullable=False),
        sa.Column("version", Text, nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("vector_id", sa.LargeBinary(16), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("page", sa.Integer()),
        sa.Column("heading", Text, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_chunks"),
        sa.UniqueConstraint("chunk_id", name="uq_chunks_chunk_id"),
        sa.UniqueConstraint("document_no", "version", "idx", name="uq_chunks_document_no_version_idx"),
    )
    op.create_index("ix_chunks_vector", "chunks", ["vector_id"])
    op.create_table(
        "vectors",
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("vector_id", sa.LargeBinary(16), nullable=False),
        sa.Column("embedding_no", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("no", name="pk_vectors"),
        sa.UniqueConstraint("vector_id", name="uq_vectors_vector_id"),
    )
    op.create_index("ix_vectors_embedding", "vectors", ["embedding_no", "no"])


def _text_index() -> None:
    op.create_table(
        "segments",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("collection_no", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("first_chunk_no", sa.BigInteger(), nullable=False),
        sa.Column("last_chunk_no", sa.BigInteger(), nullable=False),
        sa.Column("merging_into", sa.Integer()),
        sa.PrimaryKeyConstraint("no", name="pk_segments"),
    )
    op.create_index("ix_segments_collection", "segments", ["collection_no", "level"])
    op.create_table(
        "hidden_versions",
        sa.Column("collection_no", sa.Integer(), nullable=False),
        sa.Column("first_chunk_no", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("merging_into", sa.Integer()),
        sa.PrimaryKeyConstraint("collection_no", "first_chunk_no", name="pk_hidden_versions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "postings",
        sa.Column("segment_no", sa.Integer(), nullable=False),
        sa.Column("term", Text, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("segment_no", "term", name="pk_postings"),
        sqlite_with_rowid=False,
    )
