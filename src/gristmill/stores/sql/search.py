"""Searching live chunks: each leg proposes candidates, best first, and the database says which may be shown.

Everything happens in one read transaction, so both legs see the same live versions.
"""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection

from gristmill.ports.documents import ChunkQuery, Legs, Vector
from gristmill.stores.sql import collection_rows, documents_read, text_index
from gristmill.stores.sql.candidates import Candidates
from gristmill.stores.sql.collection_rows import CollectionRow
from gristmill.stores.sql.nearest import NearestVectors
from gristmill.stores.sql.shown import TEXT, VECTOR, Found, Listings, Shown
from gristmill.stores.sql.text_index import Statistics
from gristmill.stores.sql.vector_matrix import Matrices


class Searcher:
    """What one process keeps between searches; its methods run in the threads of readers."""

    def __init__(self, matrices: Matrices, nearest: NearestVectors | None = None) -> None:
        self._matrices = matrices
        self._nearest = nearest
        self._listings = Listings()

    def search(self, connection: Connection, query: ChunkQuery) -> Legs:
        row = collection_rows.find(connection, query.collection)
        shown = Shown(connection, row.no, query.filters, listings=self._listings)
        text: list[Found] = []
        vector: list[Found] = []
        if query.tokens is not None and query.limit:
            text = shown.best(_by_text(connection, row, query.tokens), TEXT, query.limit)
        if query.vector is not None and query.limit:
            vector = self._by_vector(connection, row, query.vector, shown, limit=query.limit)
        legs = [[(each.chunk_no, each.score) for each in leg] for leg in (text, vector)]
        return Legs(*documents_read.hits(connection, legs))

    def _by_vector(
        self, connection: Connection, row: CollectionRow, vector: Vector, shown: Shown, *, limit: int
    ) -> list[Found]:
        embedding = row.collection.embedding
        if vector.shape != (embedding.dimensions,):
            raise ValueError(
                f"The query's vector has the shape {vector.shape}, but collection '{row.collection.name}' holds "
                f"vectors of {embedding.key}. Embed the query with that model."
            )
        if self._nearest is not None and self._nearest.serves(connection, row.embedding_no):
            return self._nearest.best(connection, row, vector, shown, limit=limit)
        matrix = self._matrices.of(row.embedding_no, embedding=embedding, incarnation=row.incarnation)
        view = matrix.catch_up(connection)
        candidates = Candidates(view.numbers, view.scores(np.asarray(vector, np.float32)))
        return shown.best(candidates, VECTOR, limit)


def _by_text(connection: Connection, row: CollectionRow, tokens: Sequence[str]) -> Candidates:
    statistics = Statistics(chunks=row.chunks, tokens=row.tokens)
    return text_index.find(connection, row.no, statistics=statistics, tokens=tokens)
