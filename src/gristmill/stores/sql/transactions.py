"""One transaction in its thread: begun with patience, cancelled from outside."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

_T = TypeVar("_T")


class CrossedError(Exception):
    """Another transaction came between two steps of this one, which is undone and run again."""


class Access(Protocol):
    """How one kind of SQL database is reached; ``patience_seconds``: how long others in the way are waited out."""

    @property
    def writers(self) -> int: ...

    @property
    def readers(self) -> int: ...

    @property
    def patience_seconds(self) -> float: ...

    def writer_engine(self) -> Engine: ...

    def reader_engine(self) -> Engine: ...

    def is_busy(self, error: DBAPIError) -> bool:
        """Whether another transaction was in the way, so that running this one again can help."""
        ...

    def interrupt(self, driver: Any) -> None:
        """Stop the statement that runs on a connection, from another thread."""
        ...

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn what the database reports into our errors; any other error is a bug and stays as it is."""
        ...


class Transaction(Generic[_T]):
    def __init__(self, access: Access, engine: Engine, work: Callable[[Connection], _T]) -> None:
        self._access = access
        self._engine = engine
        self._work = work
        self._cancelled = False
        self._begun = False
        self._driver: Any = None

    def run(self) -> _T:
        """Blocks. Others that are in the way are waited for, up to the patience of the database."""
        deadline = time.monotonic() + self._access.patience_seconds
        while True:
            try:
                return self._once()
            except (DBAPIError, CrossedError) as error:
                again = isinstance(error, CrossedError) or self._access.is_busy(error)
                if not again or self._cancelled or time.monotonic() > deadline:
                    raise

    def _once(self) -> _T:
        self._begun = False
        with self._engine.begin() as connection:
            self._begun = True
            if self._cancelled:
                raise CancelledError
            self._driver = connection.connection.driver_connection
            try:
                result = self._work(connection)
            finally:
                self._driver = None
            if self._cancelled:
                connection.rollback()
            return result

    def cancel(self) -> bool:
        """Called from another thread: stops the statement that runs, or keeps the work from being begun or committed.

        Whether it has begun. If not, nobody need wait: it never will, however long the database takes to let it in.
        """
        self._cancelled = True
        if not self._begun:
            return False
        driver = self._driver
        if driver is not None:
            self._access.interrupt(driver)
        return True
