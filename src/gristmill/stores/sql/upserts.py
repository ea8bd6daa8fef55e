"""INSERT with ON CONFLICT for every dialect; SQLAlchemy has one for each, and PostgreSQL's loads all of its drivers."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing, OnConflictDoUpdate


class _DoNothing(OnConflictDoNothing):
    inherit_cache = True
    constraint_target = None  # What PostgreSQL's compiler asks for besides.


class _DoUpdate(OnConflictDoUpdate):
    inherit_cache = True
    constraint_target = None


class Insert(sqlite.Insert):
    inherit_cache = True

    def or_nothing(self) -> Self:
        """Rows that are there stay as they are."""
        return self.ext(_DoNothing())

    def or_update(self, key: Sequence[str], changes: Mapping[str, Any], *, only: Any = None) -> Self:
        """Rows that are there under the same key are changed; ``excluded`` is the row that was to be inserted.

        ``only``: those for which the condition holds, the others stay as they are.
        """
        return self.ext(_DoUpdate(key, None, changes, only))


def insert(table: Any) -> Insert:
    return Insert(table)
