"""Search in the HNSW indexes of pgvector, for more vectors than are well compared one by one.

An index holds half-precision copies and finds candidates; their scores are computed from the stored vectors, so they
are exact. What is found follows the rules of every search: live versions, the collection, the filters. When these
leave too little of what the index finds, all that may be shown is compared instead.
"""

import numpy as np
from sqlalchemy import Connection, bindparam, select

from gristmill.ports.documents import Vector
from gristmill.stores.sql.candidates import Candidates, Numbers
from gristmill.stores.sql.collection_rows import CollectionRow
from gristmill.stores.sql.raw import RawStatement
from gristmill.stores.sql.shown import VECTOR, Found, Shown
from gristmill.stores.sql.tables_documents import vectors
from gristmill.stores.sql.value_lists import numbers_in, packed_numbers
from gristmill.stores.sql.vector_matrix import Matrix, rows_of

# Candidates of the first look, in multiples of the limit, and how many times more when they do not suffice.
_FIRST_LOOK = 4
_LEAST = 200
_TIMES = 5
_MOST = 20_000
_MOST_EF_SEARCH = 1_000
_COMPARED_AT_A_TIME = 4_096

_SERVES = """
    SELECT namespace.nspname FROM pg_index AS index, pg_extension AS extension
    JOIN pg_namespace AS namespace ON namespace.oid = extension.extnamespace
    WHERE extension.extname = 'vector' AND index.indexrelid = to_regclass(%s) AND index.indisvalid"""
_SETTINGS = f"""
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %s, true),
    set_config('hnsw.max_scan_tuples', '{_MOST}', true)"""
_NEAREST = """
    SELECT no FROM {table} ORDER BY embedding OPERATOR("{schema}".<=>) %s::"{schema}".halfvec({dimensions}) LIMIT %s"""
_DATA = RawStatement(
    select(vectors.c.no, vectors.c.data)
    .where(vectors.c.embedding_no == bindparam("embedding_no"), vectors.c.no.in_(numbers_in("numbers")))
    .order_by(vectors.c.no)
)


def table_of(embedding_no: int) -> str:
    return f"vectors_{embedding_no:d}"


def index_of(embedding_no: int) -> str:
    return f"vectors_{embedding_no:d}_hnsw"


def schema_of(connection: Connection, embedding_no: int) -> str | None:
    """Where pgvector is, if the index of this embedding identity is whole."""
    schema: str | None = connection.exec_driver_sql(_SERVES, (index_of(embedding_no),)).scalar()
    return schema


class HnswVectors:
    def serves(self, connection: Connection, embedding_no: int) -> bool:
        return schema_of(connection, embedding_no) is not None

    def best(
        self, connection: Connection, row: CollectionRow, vector: Vector, shown: Shown, *, limit: int
    ) -> list[Found]:
        unit = np.asarray(vector, np.float32)
        count = max(_LEAST, _FIRST_LOOK * limit)
        while count <= _MOST:
            near = _nearest(connection, row, unit, count)
            found = shown.among(_compared(connection, row, unit, near), VECTOR, limit)
            if len(found) >= limit:
                return found
            if len(near) < count:
                break
            count *= _TIMES
        return shown.among(_compared(connection, row, unit, shown.allowed(VECTOR)), VECTOR, limit)


def _nearest(connection: Connection, row: CollectionRow, unit: Vector, count: int) -> Numbers:
    """The numbers of about the nearest vectors, ascending."""
    statement = _NEAREST.format(
        table=table_of(row.embedding_no),
        schema=schema_of(connection, row.embedding_no),
        dimensions=row.collection.embedding.dimensions,
    )
    connection.exec_driver_sql(_SETTINGS, (str(min(count, _MOST_EF_SEARCH)),))
    found = connection.exec_driver_sql(statement, (_written(unit), count)).scalars().all()
    return np.sort(np.array(found, np.int64))


def _written(vector: Vector) -> str:
    return f"[{','.join(map(str, vector.tolist()))}]"


def _compared(connection: Connection, row: CollectionRow, unit: Vector, numbers: Numbers) -> Candidates:
    """These vectors, given by ascending number, with their exact scores."""
    found = [np.empty(0, np.int64)]
    scores = [np.empty(0, np.float32)]
    for start in range(0, len(numbers), _COMPARED_AT_A_TIME):
        some = packed_numbers(numbers[start : start + _COMPARED_AT_A_TIME])
        stored = _DATA.execute(connection, {"embedding_no": row.embedding_no, "numbers": some}).all()
        rows = rows_of(stored, row.collection.embedding)
        found.append(rows.numbers)
        scores.append(Matrix((rows,)).scores(unit))
    return Candidates(np.concatenate(found), np.concatenate(scores))
