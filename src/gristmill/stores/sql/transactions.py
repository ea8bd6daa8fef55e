"""One transaction in its thread: begun with patience, cancelled from outside."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from gristmill.stores.sql import sqlite

_T = TypeVar("_T")


class Transaction(Generic[_T]):
    def __init__(self, engine: Engine, work: Callable[[Connection], _T]) -> None:
        self._engine = engine
        self._work = work
        self._cancelled = False
        self._driver: Any = None

    def run(self) -> _T:
        """Blocks. Other processes that hold the lock are waited for, up to BUSY_SECONDS."""
        deadline = time.monotonic() + sqlite.BUSY_SECONDS
        while True:
            try:
                return self._once()
            except OperationalError as error:
                if not sqlite.is_busy(error) or self._cancelled or time.monotonic() > deadline:
                    raise

    def _once(self) -> _T:
        with self._engine.begin() as connection:
            self._driver = connection.connection.driver_connection
            try:
                result = self._work(connection)
            finally:
                self._driver = None
            if self._cancelled:
                connection.rollback()
            return result

    def cancel(self) -> None:
        """Called from another thread: stops the statement that runs, or keeps the work from being committed."""
        self._cancelled = True
        driver = self._driver
        if driver is not None:
            with suppress(sqlite3.ProgrammingError):  # Closed meanwhile.
                driver.interrupt()
