"""Failover over two memory databases, in the states in which it must keep every contract.

``Batches`` and ``Documents`` are the contracts for slower pairs: whole in ``make soak``, one part of each in ``make test``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gristmill.stores.failover import FailoverDatabase, FailoverOptions
from gristmill.stores.memory import MemoryDatabase
from tests.contract.batches_contract import BatchesContract, CountersContract
from tests.contract.batches_contract_events import EventsContract
from tests.contract.documents_contract import DocumentsContract
from tests.contract.documents_contract_deleting import DeletingContract
from tests.support.clocks import ManualClock
from tests.support.lines import LinedDatabase

# No background work comes in between: each contract is shorter than this.
QUIET = FailoverOptions(reconcile_every=3_600.0)
SETUPS = [
    "healthy",
    "acting down from the start",
    "acting cut off in the middle",
    "standby cut off in the middle",
]
SOAK = bool(os.environ.get("GRISTMILL_TEST_SOAK"))
CALLS_BEFORE_THE_CUT = 31  # A few operations, each of several calls.


@asynccontextmanager
async def failover(clock: ManualClock, order: tuple[str, str], setup: str) -> AsyncIterator[FailoverDatabase]:
    preferred, standby = (LinedDatabase(MemoryDatabase(clock, name=name)) for name in order)
    if setup == "acting down from the start":
        preferred.line.cut = True
    database = FailoverDatabase(preferred, standby, clock=clock, options=QUIET, by="this")
    await database.open()
    if setup == "acting cut off in the middle":
        preferred.line.cut_after = CALLS_BEFORE_THE_CUT
    if setup == "standby cut off in the middle":
        standby.line.cut_after = CALLS_BEFORE_THE_CUT // 2
    yield database
    await database.close()


class _SomeOfBatches(CountersContract, EventsContract):
    """From the submission to the end, the retry, and the cleanup."""


class _SomeOfDocuments(DeletingContract):
    """Staged, published, found and deleted."""


Batches = BatchesContract if SOAK else _SomeOfBatches
Documents = DocumentsContract if SOAK else _SomeOfDocuments
