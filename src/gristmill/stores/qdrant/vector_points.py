"""Between vectors and their points."""

from typing import Any
from uuid import UUID, uuid4

import numpy as np
from qdrant_client import models

from gristmill.domain.document import EmbeddingIdentity
from gristmill.ports.documents import Vector
from gristmill.ports.rows import VectorRow
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.document_points import embedding_fields, embedding_of
from gristmill.stores.qdrant.marks import Marks
from gristmill.stores.qdrant.points import TOKEN, point


def point_of(
    vector_id: UUID, embedding: EmbeddingIdentity, vector: Vector, marks: Marks
) -> models.PointStruct:
    payload = {**embedding_fields(embedding), **marks, TOKEN: uuid4().hex}
    return point(vector_id, payload, {schema.DENSE: vector.tolist()})


def row_of(record: models.Record) -> VectorRow:
    vector: Any = record.vector
    values = np.array(vector[schema.DENSE], dtype=np.float32)
    return VectorRow(UUID(str(record.id)), embedding_of(record.payload or {}), values)
