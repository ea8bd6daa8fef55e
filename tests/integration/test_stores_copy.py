"""Copying an installation: everything arrives to the bit, and nothing is overwritten that is not of the same copy."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from gristmill.commands import copying
from gristmill.commands.copying import CopyRefusedError, copy
from gristmill.engine.comparing import same_content
from gristmill.insights.verifying import verify
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.replication import Acting
from gristmill.ports.rows import Kind, VectorRow
from gristmill.stores.memory import MemoryDatabase
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite
from tests.support.lines import LinedDatabase

GONE = timedelta(days=1).total_seconds()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def source(clock):
    """Rows of every kind, and a batch that waits."""
    database = MemoryDatabase(clock, name="source")
    await steps.fill(database, clock.now())
    await batches.submit(database, "waits", "too", seal=True)
    clock.advance(GONE)
    return database


@pytest.fixture
def target(clock):
    return MemoryDatabase(clock, name="target")


async def copied(source, target, clock):
    return await copy(source, target, clock=clock, on_rows=lambda _kind, _rows: None)


async def test_everything_arrives_and_the_source_is_as_it_was(source, target, clock):
    before = (await source.replication.standing(), await steps.everything(source))
    result = await copied(source, target, clock)
    assert result.count == 0
    assert dict(result.rows) == {
        Kind.WORKER: 1,
        Kind.COLLECTION: 1,
        Kind.VECTOR: 2,
        Kind.CHUNKS: 1,
        Kind.DOCUMENT: 1,
        Kind.BATCH: 2,
        Kind.RECORD: 4,
        Kind.END: 1,
    }
    assert (await source.replication.standing(), await steps.everything(source)) == before
    assert (await verify(source, target, look_again=(0.0,))).count == 0
    assert len(await batches.claim(target)) == 2
    assert await documents.found(target, "old") == {"old one", "old two"}


async def test_a_copy_that_was_cut_short_goes_on(source, target, clock, monkeypatch):
    monkeypatch.setattr("gristmill.engine.comparing.PAGE_ROWS", 2)
    lined = LinedDatabase(target)
    lined.line.cut_after = 12
    with pytest.raises(StoreUnavailableError):
        await copied(source, lined, clock)
    held = await steps.everything(target)
    assert 0 < len(held) < len(await steps.everything(source))
    half = (await target.replication.standing()).acting
    assert (half.is_half_copied, half.reason) == (True, "the copy from source has not ended")
    with pytest.raises(CopyRefusedError, match=r"The source \(target\) holds an unfinished copy itself"):
        await copied(target, MemoryDatabase(clock, name="third"), clock)
    assert (await copied(source, target, clock)).count == 0
    whole = (await target.replication.standing()).acting
    assert (whole.is_half_copied, whole.reason) == (False, "copied from source")
    assert (await copied(source, target, clock)).count == 0
    assert (await verify(source, target, look_again=(0.0,))).count == 0


async def test_a_target_with_anything_else_in_it_is_refused_and_left_alone(source, target, clock):
    await batches.submit(target, "a")
    before = await steps.everything(target)
    with pytest.raises(
        CopyRefusedError, match=r"target \(target\) is not empty: its batch .* is not in the source"
    ):
        await copied(source, target, clock)
    assert await steps.everything(target) == before


async def test_the_same_database_is_refused(source, clock):
    with pytest.raises(CopyRefusedError, match="same database"):
        await copied(source, source, clock)


@pytest.mark.parametrize("busy", ["source", "target"])
async def test_a_database_that_somebody_works_on_is_refused(source, target, clock, busy):
    at_work = {"source": source, "target": target}[busy]
    await at_work.batches.renew_lease(builders.worker("w7", clock.now(), host_id="another"))
    with pytest.raises(CopyRefusedError, match=f"w7 is at work on {busy}"):
        await copied(source, target, clock)


class Rounding(MemoryDatabase):
    """Stores what it is sent a little wrong."""

    def __init__(self, clock, name):
        super().__init__(clock, name=name)
        put = self.tables.put

        def wrong(body):
            if isinstance(body, VectorRow):
                body = VectorRow(body.vector_id, body.embedding, np.round(body.vector, 3))
            put(body)

        self.tables.put = wrong


async def test_what_comes_out_otherwise_is_named(source, clock):
    result = await copied(source, Rounding(clock, "target"), clock)
    assert (result.count, result.rows[Kind.VECTOR]) == (2, 0)
    assert [each.what for each in result.differences] == ["it differs there"] * 2


async def test_what_was_one_of_two_goes_on_saying_who_serves(source, target, clock):
    acting = Acting(3, "target", clock.now(), "this", "the first start")
    await target.replication.set_acting(acting)
    assert (await copied(source, target, clock)).count == 0
    assert (await target.replication.standing()).acting == acting


async def test_what_the_target_refuses_is_named_and_the_rest_arrives(source, target, clock):
    strange = builders.EmbeddingIdentity("another", "model", 3)
    collection = (await source.documents.list_collections())[0].collection
    target.tables.put(replace(collection, embedding=strange))
    result = await copied(source, target, clock)
    assert result.differences[0].kind is Kind.COLLECTION
    assert "papers" in result.differences[0].what
    assert result.rows[Kind.RECORD] == 4


async def test_what_somebody_writes_to_the_target_meanwhile_is_seen(source, target, clock):
    async def meanwhile():
        await batches.submit(target, "mine")

    told = []

    def on_rows(kind, rows):
        told.append((kind, rows))

    merge = target.replication.merge

    async def then_write(rows, **options):
        merged = await merge(rows, **options)
        await meanwhile()
        return merged

    target.replication.merge = then_write
    result = await copy(source, target, clock=clock, on_rows=on_rows)
    assert [(each.kind, each.what) for each in result.differences] == [
        (Kind.BATCH, "2 in the source, 3 in the target"),
        (Kind.RECORD, "4 in the source, 5 in the target"),
    ]
    assert told == [(Kind.END, sum(result.rows.values()))]


async def test_a_target_that_is_replaced_meanwhile_is_refused(source, target, clock, monkeypatch):
    monkeypatch.setattr("gristmill.engine.comparing.PAGE_ROWS", 2)

    def on_rows(_kind, _rows):
        target.tables.incarnation = builders.new_batch().batch_id

    with pytest.raises(copying.ConfigurationError, match="was replaced"):
        await copy(source, target, clock=clock, on_rows=on_rows)


async def test_through_files_and_back_everything_is_the_same(source, target, clock, tmp_path):
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        files.append(await new_sqlite(tmp_path / name, clock))
    places = [source, *files, target]
    for one, other in pairwise(places):
        assert (await copied(one, other, clock)).count == 0
    there = {(row.kind, row.key): row for row in await steps.everything(target)}
    rows = await steps.everything(source)
    assert len(there) == len(rows)
    assert all(same_content(row, there[row.kind, row.key]) for row in rows)
    for database in (*files, target):
        assert await documents.found(database, "old") == {"old one", "old two"}
        assert len(await batches.claim(database)) == 2
    for database in files:
        await database.close()
