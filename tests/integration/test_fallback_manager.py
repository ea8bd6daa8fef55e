"""The documented flow by hand, on one database and on two, and what is no reason to move."""

from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from gristmill import DatabaseFallbackManager, get_fallback_manager, wiring
from gristmill.domain.identity import BadItemIdError
from gristmill.ports.errors import (
    AllStoresUnavailableError,
    BatchConflictError,
    BatchNotFoundError,
    ItemNotFoundError,
    RecordNotOpenError,
    StoreUnavailableError,
)
from gristmill.settings import load
from gristmill.stores.failover import FailoverDatabase
from gristmill.stores.memory import MemoryDatabase
from tests.contract.failover_setups import QUIET
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.fallback_flow import flow
from tests.support.lines import LinedDatabase
from tests.support.qdrant_databases import new_qdrant


class Set:
    """A manager with the lines to its databases."""

    def __init__(self, tmp_path, *databases) -> None:
        self.clock = ManualClock()
        over, self.lined = databases[0], []
        if len(databases) == 2:
            self.lined = [LinedDatabase(each) for each in databases]
            over = FailoverDatabase(*self.lined, clock=self.clock, options=QUIET)
        self.database = over
        core = wiring.build(load(home=tmp_path), database=over, clock=self.clock)
        self.manager = DatabaseFallbackManager(core)


@pytest.fixture
async def two(tmp_path):
    clock = ManualClock()
    made = Set(tmp_path, MemoryDatabase(clock, name="one"), MemoryDatabase(clock, name="two"))
    yield made
    await made.manager.close()


async def test_flow_on_sqlite_alone(tmp_path):
    database = await new_sqlite(tmp_path, ManualClock())
    made = Set(tmp_path, database)
    await flow(made.manager)
    await made.manager.close()


async def test_flow_on_qdrant_alone(tmp_path):
    made = Set(tmp_path, await new_qdrant(ManualClock()))
    await flow(made.manager)
    await made.manager.close()


async def test_flow_on_postgresql_alone(tmp_path, postgres):
    clock = ManualClock()
    async with postgres.opened(clock) as database:
        made = Set(tmp_path, database)
        await flow(made.manager)
        await made.manager.close()


@pytest.mark.parametrize("down", [None, 0, 1])
async def test_flow_on_two_databases_and_on_either_alone(two, down):
    if down is not None:
        two.lined[down].line.cut = True
    await flow(two.manager)
    held = [len(each.inner.tables.records) for each in two.lined]
    assert held == [0 if position == down else 1 for position in range(2)]


async def test_no_database_is_an_error_and_never_an_empty_answer(two):
    for lined in two.lined:
        lined.line.cut = True
    for call in [
        two.manager.get_processing_progress(uuid4()),
        two.manager.get_processing_results(uuid4()),
        two.manager.get_processing_statistics(),
        two.manager.create_processing_records(uuid4(), ["a"]),
        two.manager.cleanup_old_records(),
    ]:
        with pytest.raises(AllStoresUnavailableError) as caught:
            await call
        assert isinstance(caught.value, StoreUnavailableError)
        assert caught.value.retry_after_seconds >= 1
        assert set(caught.value.reasons) == {"one", "two"}


@pytest.mark.parametrize("bad", [None, 7, b"a", "", "  ", "x" * 501, ["a"]])
async def test_bad_item_id_raises_and_is_logged_and_switches_nothing(two, bad):
    batch_id = uuid4()
    await two.manager.create_processing_records(batch_id, ["a"])
    before = two.database.status().acting
    for call in [
        two.manager.create_processing_records(batch_id, ["b", bad]),
        two.manager.update_processing_status(batch_id, bad, "completed"),
    ]:
        with capture_logs() as logs, pytest.raises(BadItemIdError):
            await call
        (said,) = [log for log in logs if log["event"] == "bad_item_id"]
        assert said["type"] == type(bad).__name__
        assert said["value"] == repr(bad)[:80]
    assert two.database.status().acting == before
    assert (await two.manager.get_processing_progress(batch_id)).counters.total == 1


async def test_unknown_item_batch_and_status_raise_and_switch_nothing(two):
    batch_id = uuid4()
    await two.manager.create_processing_records(batch_id, ["a"])
    before = two.database.status().acting
    with capture_logs() as logs, pytest.raises(ItemNotFoundError):
        await two.manager.update_processing_status(batch_id, "nobody", "completed")
    assert [(log["item_id"], log["type"]) for log in logs if log["event"] == "unknown_item"] == [
        ("nobody", "str")
    ]
    with pytest.raises(BatchNotFoundError):
        await two.manager.update_processing_status(uuid4(), "a", "completed")
    with pytest.raises(ValueError, match="no batch id"):
        await two.manager.get_processing_progress(17)
    for status, error in [("processing", None), ("failed", None), ("completed", "but"), ("nonsense", None)]:
        with pytest.raises(ValueError, match="by hand"):
            await two.manager.update_processing_status(batch_id, "a", status, error)
    await two.lined[0].batches.seal_batch(batch_id)
    with pytest.raises(BatchConflictError):
        await two.manager.create_processing_records(batch_id, ["late"])
    assert two.database.status().acting == before
    assert not any(line.line.cut for line in two.lined)


async def test_record_whose_lease_is_held_is_left_alone(two):
    batch_id = uuid4()
    await two.manager.create_processing_records(batch_id, ["a", "b"])
    pending = (await two.database.batches.find_records(batch_id, ["a"]))["a"]
    claimed = await two.database.batches.claim_records("w1", limit=2)
    with pytest.raises(RecordNotOpenError, match="w1"):
        await two.manager.update_processing_status(batch_id, "a", "completed")
    two.database.batches.find_records = lambda *_: _ready({"a": pending})
    with pytest.raises(RecordNotOpenError):  # Claimed between the look and the write.
        await two.manager.update_processing_status(batch_id, "a", "completed")
    page = await two.manager.get_processing_results(batch_id)
    assert list(page.records) == sorted(claimed, key=lambda record: record.item_id)


async def _ready(value):
    return value


async def test_record_that_ended_otherwise_is_left_alone(two):
    batch_id = uuid4()
    await two.manager.create_processing_records(batch_id, ["a"])
    await two.manager.update_processing_status(batch_id, "a", "failed", "no")
    with pytest.raises(RecordNotOpenError, match="failed"):
        await two.manager.update_processing_status(batch_id, "a", "completed")


async def test_manager_of_this_process_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.setattr("gristmill.fallback._managers", [])
    assert get_fallback_manager() is get_fallback_manager()
    own = get_fallback_manager(home=tmp_path)
    assert own is not get_fallback_manager()
    async with own as manager:
        await flow(manager)
