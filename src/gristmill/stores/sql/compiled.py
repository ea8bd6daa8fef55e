"""The statements that SQLAlchemy has compiled, kept for all engines of a process."""

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.util import LRUCache

_STATEMENTS = 1_000


class CompiledStatements(LRUCache[Any, Any]):
    """Readers and writers of a database have an engine each, and whoever opens it again has others.

    Each would compile every statement anew, which takes longer than most of them need to run. Keys begin with the
    engine's dialect, by which each engine has its own; here those of one name share theirs, for all are made alike.
    """

    __slots__ = ()

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(_alike(key), default)

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        return super().__getitem__(_alike(key))

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(_alike(key), compiled)


def _alike(key: tuple[Any, ...]) -> tuple[Any, ...]:
    first, *statement = key
    return (first.name if isinstance(first, Dialect) else first), *statement


COMPILED = CompiledStatements(_STATEMENTS)
