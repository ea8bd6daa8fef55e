"""Writes to documents that a later one of the other side takes the place of are kept in a log (V4)."""

from datetime import timedelta

from gristmill.domain.conflicts import Conflict, Deed
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.contract.replication_contract_documents import both
from tests.support import builders

NEW, OLD = steps.NEW, steps.OLD
DOCUMENT = OLD.document_id
_KEPT = (
    "gristmill.stores.memory.replication.KEPT",
    "gristmill.stores.sql.conflict_rows.KEPT",
    "gristmill.stores.qdrant.conflict_points.KEPT",
)


async def logged(*databases) -> list[Conflict]:
    """What any of them found, each once."""
    found: dict[str, Conflict] = {}
    for each in databases:
        there = await each.replication.conflicts(limit=100)
        assert there.count == len(there.newest)
        found |= {conflict.key: conflict for conflict in there.newest}
    return list(found.values())


class ConflictsContract:
    async def test_edit_that_a_later_one_replaced_unseen_is_logged(self, database, other, clock):
        await both(database, other, OLD)
        early = clock.advance(1)
        await other.documents.update_metadata({DOCUMENT: {"v": "early", "«»": [1, None]}})
        late = clock.advance(1)
        await database.documents.update_metadata({DOCUMENT: {"v": "late"}})
        found_at = clock.advance(1)
        await steps.take_across(other, database)
        await steps.exchange(database, other)
        (found,) = await logged(database)
        assert await logged(database, other) == [found]
        assert (found.document_id, found.collection, found.source) == (DOCUMENT, "papers", OLD.source)
        assert (found.lost, found.lost_at, found.won, found.won_at) == (Deed.EDIT, early, Deed.EDIT, late)
        assert (found.version, found.title, found.metadata) == (
            OLD.version,
            "A",
            {"v": "early", "«»": [1, None]},
        )
        assert found.found_at == found_at
        assert found.by != found.won_by
        rows = len(await steps.everything(database))
        await steps.pair(database, other)  # The log is no row, and owed to nobody.
        assert len(await steps.owed(database)) == rows
        await steps.exchange(database, other)
        assert await logged(database, other) == [found]
        assert not found.here

    async def test_edit_whose_winner_came_before_it_was_sent_is_logged(self, database, other, clock):
        await both(database, other, OLD)
        clock.advance(1)
        await database.documents.update_metadata({DOCUMENT: {"v": "early"}})
        clock.advance(1)
        await other.documents.update_metadata({DOCUMENT: {"v": "late"}})
        await steps.take_across(other, database)
        await steps.exchange(database, other)
        (found,) = await logged(database)
        assert (found.here, found.metadata) == (True, {"v": "early"})
        assert await logged(database, other) == [found]

    async def test_loser_against_a_deletion_or_a_newer_version_is_logged(self, database, other, clock):
        versions = [builders.version(f"file:///{name}", ["text"], metadata={"v": 0}) for name in "abc"]
        await both(database, other, *versions)
        deleted, outlived, replaced = versions
        clock.advance(1)
        edits = {each.document_id: {"v": 1} for each in (deleted, replaced)}
        await database.documents.update_metadata(edits)
        await database.documents.delete_documents([outlived.document_id])
        clock.advance(1)
        await other.documents.delete_documents([deleted.document_id])
        await other.documents.update_metadata({outlived.document_id: {"v": 2}})
        await steps.show(other, builders.version(replaced.source, ["newer"]))
        await steps.exchange(database, other)
        found = {
            each.source[-1]: (each.lost, each.won, each.metadata) for each in await logged(database, other)
        }
        assert found == {
            "a": (Deed.EDIT, Deed.DELETION, {"v": 1}),
            "b": (Deed.DELETION, Deed.EDIT, None),
            "c": (Deed.EDIT, Deed.VERSION, {"v": 1}),
        }

    async def test_what_is_written_on_top_of_what_came_is_no_conflict(self, database, other, clock):
        await both(database, other, OLD)
        sides = [database, other, database, other]
        for number, side in enumerate(sides):
            clock.advance(1)
            await side.documents.update_metadata({DOCUMENT: {"v": number}})
            await side.documents.update_metadata({DOCUMENT: {"v": [number]}})
            await steps.exchange(database, other)
        await steps.show(other, NEW)
        await steps.exchange(database, other)
        await database.documents.delete_documents([DOCUMENT])
        clock.advance(1)
        await steps.show(database, OLD)
        rows = [*await steps.everything(other), *await steps.everything(database)]
        await steps.exchange(database, other)
        for side in (database, other):
            await steps.merge(side, *rows)  # A copy of an earlier moment that comes late.
            await side.replication.distrust(steps.STRANGER)
        await steps.pair(database, other)
        await steps.exchange(database, other)
        assert await documents.near(other) == {"old one", "old two"}
        assert await logged(database, other) == []

    async def test_metadata_of_more_than_4_kilobytes_is_left_out_and_the_newest_conflicts_are_kept(
        self, database, other, clock, monkeypatch
    ):
        for each in _KEPT:
            monkeypatch.setattr(each, 2)
        versions = [builders.version(f"file:///{name}", ["text"]) for name in "abcd"]
        await both(database, other, *versions)
        for version in versions:
            clock.advance(1)
            await other.documents.update_metadata({version.document_id: {"v": "x" * 5_000}})
            clock.advance(1)
            await database.documents.update_metadata({version.document_id: {"v": 1}})
            await steps.take_across(other, database)
            await steps.exchange(database, other)
        there = await database.replication.conflicts(limit=1)
        assert (there.count, [each.source for each in there.newest]) == (4, ["file:///d"])
        assert there.newest[0].metadata is None
        await database.replication.purge(timedelta(days=1))
        there = await database.replication.conflicts(limit=9)
        assert (there.count, [each.source[-1] for each in there.newest]) == (2, ["d", "c"])
