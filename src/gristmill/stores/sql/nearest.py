"""What a search of vectors needs of a database that finds the nearest ones itself."""

from typing import Protocol

from sqlalchemy import Connection

from gristmill.ports.documents import Vector
from gristmill.stores.sql.collection_rows import CollectionRow
from gristmill.stores.sql.shown import Found, Shown


class NearestVectors(Protocol):
    def serves(self, connection: Connection, embedding_no: int) -> bool:
        """Whether it has all vectors of this embedding identity."""
        ...

    def best(
        self, connection: Connection, row: CollectionRow, vector: Vector, shown: Shown, *, limit: int
    ) -> list[Found]:
        """The best ``limit`` of what may be shown, with exact scores; one that is near may be missed."""
        ...
