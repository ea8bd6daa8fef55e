"""Python's garbage collector while a worker runs: it searches less often.

A worker makes hundreds of objects for every item, which go by their count of references and hardly ever in a cycle.
By Python's own threshold they are searched so often that it takes a tenth of the worker's time.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_BETWEEN_COLLECTIONS = 50_000


class _Running:
    """How many run in this process, and what the first of them found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.found = gc.get_threshold()


_running = _Running()


@contextmanager
def fewer_collections() -> Iterator[None]:
    """For the whole process, until the last one leaves; a process that collects as seldom, or never, stays as it is."""
    with _running.lock:
        if not _running.count:
            _running.found = gc.get_threshold()
            if 0 < _running.found[0] < OBJECTS_BETWEEN_COLLECTIONS:
                gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *_running.found[1:])
        _running.count += 1
    try:
        yield
    finally:
        with _running.lock:
            _running.count -= 1
            if not _running.count:
                gc.set_threshold(*_running.found)
