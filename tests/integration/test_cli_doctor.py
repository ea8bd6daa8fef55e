"""What the doctor says of a database, on a clock that the test moves."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from gristmill import settings, wiring
from gristmill.commands import batches
from gristmill.domain.failures import FailureCategory
from gristmill.domain.hold import HOLD_AFTER
from gristmill.domain.record import Done, Failed, Report, Snooze
from gristmill.engine.liveness import LEASE_SECONDS, submitter_is_gone, submitter_text, this_process
from gristmill.engine.submit import submit
from gristmill.insights import doctor
from gristmill.ports.rows import row_of
from gristmill.stores.memory import MemoryDatabase
from tests.support.builders import failure, new_batch, numbered
from tests.support.clocks import START, ManualClock

BATCH = UUID(int=7)
LEASE = timedelta(seconds=LEASE_SECONDS)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def core(clock, tmp_path):
    chosen = settings.load(home=tmp_path, embedder="wordllama", workers=1)
    core = wiring.build(chosen, database=MemoryDatabase(clock), clock=clock)
    await core.open()
    yield core
    await core.close()


async def submitted(core, *, submitter=None):
    await core.database.batches.create_batch(new_batch(BATCH, submitter=submitter))
    await submit(core.database.batches, BATCH, numbered(3))


async def commands(core) -> list[str]:
    return [problem.command for problem in await doctor.examine(core)]


async def test_waiting_work_without_a_worker_is_a_problem(core):
    await submitted(core)
    assert await commands(core) == ["gristmill worker run-once"]


async def test_work_of_a_living_worker_is_none_until_it_makes_no_progress(core, clock):
    await submitted(core)
    me = this_process(now=clock.now())
    await core.database.batches.renew_lease(me)
    await core.database.batches.claim_records(me.worker_id, limit=3)
    assert await commands(core) == []
    clock.advance(doctor.NO_PROGRESS.total_seconds() + 1)
    await core.database.batches.renew_lease(replace(me, renewed_at=clock.now()))
    (problem,) = await doctor.examine(core)
    assert (problem.since, "makes no progress" in problem.what) == (START, True)


async def test_batch_that_lacks_declared_records_is_named_until_they_are_declared_away(core):
    there = MemoryDatabase(core.clock)
    await there.batches.create_batch(new_batch(BATCH))
    await submit(there.batches, BATCH, numbered(3))
    batch, record, *_ = sorted(map(row_of, there.tables.all_rows()), key=lambda row: row.kind)
    await core.database.replication.merge([batch, record], source=there.tables.identity)
    found, _ = await doctor.examine(core)
    assert found.what == f"1 of 3 declared items of batch {BATCH} are here."
    assert found.command == f"gristmill batches seal {BATCH}"
    await batches.seal(core, BATCH)
    assert await commands(core) == ["gristmill worker run-once"]


async def test_ended_batch_is_no_problem_whatever_came_of_it(core, clock):
    await submitted(core)
    me = this_process(now=clock.now())
    records = await core.database.batches.claim_records(me.worker_id, limit=3)
    failed = Failed(failure(FailureCategory.EMPTY))
    await core.database.batches.update_processing_status([Report(record, failed) for record in records])
    await core.database.batches.end_batches([BATCH])
    assert await commands(core) == []


async def test_unsealed_batch_of_a_living_submitter_is_not_interrupted(core, clock):
    living = submitter_text(this_process(now=clock.now()))
    await core.database.batches.create_batch(new_batch(BATCH, submitter=living))
    clock.advance(10 * LEASE_SECONDS)
    assert await commands(core) == []


async def test_held_batch_is_a_problem_with_its_cause(core, clock):
    await core.database.batches.create_batch(new_batch(BATCH))
    await submit(core.database.batches, BATCH, numbered(HOLD_AFTER + 1))
    me = this_process(now=clock.now())
    await core.database.batches.renew_lease(me)
    records = await core.database.batches.claim_records(me.worker_id, limit=HOLD_AFTER)
    down = Snooze(1.0, failure(FailureCategory.PROVIDER_TRANSIENT, "The model file is gone."))
    await core.database.batches.update_processing_status([Report(record, down) for record in records])
    (problem,) = await doctor.examine(core)
    assert "held" in problem.what
    assert "The model file is gone." in problem.why
    assert problem.since == START


async def test_lease_that_ran_out_with_work_in_hand_is_a_problem(core, clock):
    await submitted(core)
    me = replace(this_process(now=clock.now()), host_id="elsewhere")
    await core.database.batches.renew_lease(me)
    await core.database.batches.claim_records(me.worker_id, limit=3)
    clock.advance(LEASE_SECONDS + 1)
    waiting, gone = await doctor.examine(core)
    assert "no worker is at work" in waiting.what
    assert (gone.since, gone.command) == (START, "gristmill worker run-once")
    assert me.worker_id in gone.what


async def test_stored_status_that_nobody_brought_up_to_date_is_a_problem(core, clock):
    await submitted(core)
    records = await core.database.batches.claim_records("w", limit=3)
    await core.database.batches.update_processing_status([Report(record, Done()) for record in records])
    (problem,) = await doctor.examine(core)
    assert "stored as processing" in problem.what
    await core.new_worker().run()
    assert await commands(core) == []


async def test_end_that_no_listener_was_told_of_is_a_problem(core, clock):
    await core.database.batches.create_batch(new_batch(BATCH))
    await submit(core.database.batches, BATCH, [])
    await core.database.batches.end_batches()
    assert await commands(core) == []
    clock.advance(doctor.UNTOLD_AFTER.total_seconds() + 1)
    (problem,) = await doctor.examine(core)
    assert "was not delivered" in problem.what
    await core.new_worker().run()
    assert await commands(core) == []


@pytest.mark.parametrize("submitter", [None, "somebody", "{}", "[1]"])
def test_submitter_that_is_not_known_is_gone_when_idle_for_a_lease(submitter):
    assert not submitter_is_gone(submitter, active_at=START, now=START + LEASE)
    assert submitter_is_gone(submitter, active_at=START, now=START + 2 * LEASE)


def test_submitter_whose_process_ended_is_gone_at_once():
    ended = replace(this_process(now=START), process_started=1.0)
    assert submitter_is_gone(submitter_text(ended), active_at=START, now=START)


def test_home_that_may_not_hold_a_database_is_seen_without_one(tmp_path):
    (tmp_path / "file").write_text("")
    (problem,) = doctor.examine_home(settings.load(home=tmp_path / "file", embedder="wordllama"))
    assert "is a file" in problem.why
    assert doctor.examine_home(settings.load(home=tmp_path / "new", embedder="wordllama")) == []
    assert not (tmp_path / "new").exists()
