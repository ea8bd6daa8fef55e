"""Marks, identities and the acting row: the journal of what is owed."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from gristmill.domain.document import EmbeddingIdentity
from gristmill.ports.replication import Acting, Fate, Identity, Missing, SetAside
from gristmill.ports.rows import Kind
from tests.contract import batches_contract_steps as batches
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders


class MarksContract:
    async def test_every_write_marks_the_rows_it_changed(self, database, other, clock):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        assert {row.kind for row in await steps.owed(database)} == {Kind.BATCH, Kind.RECORD}
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await batches.complete(database, *await batches.claim(database))
        await database.batches.end_batches([batch_id])
        await documents.open_papers(database)
        await steps.show(database, steps.OLD)
        kinds = [row.kind for row in await steps.owed(database)]
        assert kinds == sorted(kinds)
        assert set(kinds) == set(Kind)
        assert kinds.count(Kind.RECORD) == kinds.count(Kind.VECTOR) == 2
        assert kinds.count(Kind.DOCUMENT) == kinds.count(Kind.CHUNKS) == 1

    async def test_pages_of_one_bring_every_row_once(self, database, other):
        await steps.pair(database, other)
        await batches.submit(database, *"abcdefg", seal=True)
        await documents.open_papers(database)
        await steps.show(database, steps.OLD)
        whole = await steps.owed(database)
        assert [(r.kind, r.key, r.token) for r in await steps.owed(database, limit=1)] == [
            (row.kind, row.key, row.token) for row in whole
        ]
        assert len({(row.kind, row.key) for row in whole}) == len(whole) == 13

    async def test_foreign_cursor_is_refused(self, database):
        with pytest.raises(ValueError, match="cursor"):
            await database.replication.owed(limit=5, after="nonsense")

    async def test_marks_after_a_number_are_those_of_later_writes(self, database, other):
        await steps.pair(database, other)
        await batches.submit(database, "a", "b", seal=True)
        before = await steps.identity(database)
        assert await steps.owed(database, since=before.sequence) == []
        record = await batches.claim_one(database)
        found = await steps.owed(database, Kind.RECORD, since=before.sequence)
        assert [row.body for row in found] == [record]

    async def test_settling_clears_the_mark_of_the_exact_row_alone(self, database, other):
        """V3: what was written after it was read stays owed."""
        await steps.pair(database, other)
        await batches.submit(database, "a", "b")
        rows = await steps.owed(database)
        record = await batches.claim_one(database)
        await database.replication.settle(rows, peer=await steps.identity(other))
        left = await steps.owed(database, Kind.RECORD)
        assert [row.body for row in left] == [record]
        assert (await database.replication.count_owed()).rows == len(await steps.owed(database))

    async def test_what_another_incarnation_confirmed_settles_nothing(self, database, other):
        await steps.pair(database, other)
        await batches.submit(database, "a")
        rows = await steps.owed(database)
        assert await database.replication.settle(rows, peer=steps.STRANGER) == 0
        assert await steps.owed(database) == rows
        assert await database.replication.settle(rows, peer=await steps.identity(other)) == len(rows)
        assert (await database.replication.count_owed()).rows == 0

    async def test_merging_sets_no_mark_and_leaves_those_that_are(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(other, "a", "b")
        rows = await steps.owed(other)
        assert {each.fate for each in await steps.merge(database, *rows)} == {Fate.HELD}
        assert await steps.owed(database) == []
        assert await batches.statuses(database, batch_id) == {"a": "pending", "b": "pending"}
        (claimed,) = await batches.claim(database, 1)
        await steps.merge(database, *rows)
        assert [row.body for row in await steps.owed(database, Kind.RECORD)] == [claimed]

    async def test_merging_the_next_version_leaves_a_mark_that_was_set_since_the_last_one(
        self, database, other
    ):
        await steps.pair(database, other)
        await batches.submit(other, "a", "b")
        await steps.take_across(other, database)
        await database.replication.distrust(await steps.identity(other))
        claimed = await batches.claim(other)
        merges = await steps.merge(database, *await steps.owed(other, Kind.RECORD))
        assert {each.fate for each in merges} == {Fate.HELD}
        left = await steps.owed(database, Kind.RECORD)
        assert {row.token for row in left} == {record.version.write_id for record in claimed}

    async def test_merging_an_earlier_version_after_the_next_one_leaves_that_one(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(other, "a", "b")
        earlier = await steps.owed(other)
        await steps.take_across(other, database)
        claimed = await batches.claim(other)
        await steps.take_across(other, database)
        merges = await steps.merge(database, *(row for row in earlier if row.kind is Kind.RECORD))
        assert {each.token for each in merges} == {record.version.write_id for record in claimed}
        assert set((await batches.statuses(database, batch_id)).values()) == {"processing"}

    async def test_merging_the_next_version_meets_what_was_written_here_since_the_last_one(
        self, database, other
    ):
        await steps.pair(database, other)
        batch_id = await batches.submit(other, "a", "b")
        await steps.take_across(other, database)
        (completed,) = await batches.claim(database, 1)
        await batches.complete(database, completed)
        left = {row.key: row.token for row in await steps.owed(database, Kind.RECORD)}
        await batches.claim(other)
        merges = await steps.merge(database, *await steps.owed(other, Kind.RECORD))
        assert {each.row.key: each.token for each in merges} == {
            each.row.key: left.get(each.row.key, each.row.token) for each in merges
        }
        assert len(left) == 1
        assert sorted((await batches.statuses(database, batch_id)).values()) == ["completed", "processing"]

    async def test_merging_again_changes_nothing(self, database, other):
        await batches.submit(other, "a", seal=True)
        await documents.open_papers(other)
        await steps.show(other, steps.OLD)
        await steps.pair(database, other)
        rows = await steps.owed(other)
        first = await steps.merge(database, *rows)
        again = await steps.merge(database, *reversed(rows))
        assert [each.token for each in first] == [row.token for row in rows]
        assert [each.token for each in again] == [row.token for row in reversed(rows)]

    async def test_refused_row_is_set_aside_and_blocks_no_neighbour(self, database, other):
        await steps.pair(database, other)
        await documents.open_papers(database)
        await other.documents.open_collection("papers", EmbeddingIdentity("another", "model", 3))
        await other.documents.open_collection("books", builders.EMBEDDING)
        merges = await steps.take_across(other, database)
        assert sorted((each.row.key, each.fate) for each in merges) == [
            ("books", Fate.HELD),
            ("papers", Fate.REFUSED),
        ]
        (refused,) = [each for each in merges if each.fate is Fate.REFUSED]
        assert "papers" in refused.reason
        assert {each.collection.name for each in await database.documents.list_collections()} == {
            "papers",
            "books",
        }

    async def test_set_aside_rows_are_counted_and_shown_and_not_sent_again(self, database, other):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b")
        first, second = await steps.owed(database, Kind.RECORD)
        aside = SetAside(first.kind, first.key, first.token, "too large")
        assert await database.replication.set_aside([aside, replace(aside, key=second.key)]) == 1
        assert await steps.owed(database, Kind.RECORD) == [second]
        assert list(await database.replication.list_set_aside(limit=9)) == [aside]
        count = await database.replication.count_owed()
        assert (count.rows, count.set_aside) == (2, 1)
        await database.batches.cancel_batch(batch_id)
        assert len(await steps.owed(database, Kind.RECORD)) == 2
        assert (await database.replication.count_owed()).set_aside == 0

    async def test_oldest_mark_is_known(self, database, other, clock):
        await steps.pair(database, other)
        assert await database.replication.count_owed() == replace(
            await database.replication.count_owed(), rows=0, set_aside=0, oldest=None
        )
        began = clock.now()
        await batches.submit(database, "a")
        clock.advance(60)
        await batches.submit(database, "b")
        assert (await database.replication.count_owed()).oldest == began


class IdentityContract:
    async def test_numbers_rise_with_every_write_and_every_merge(self, database, other):
        await steps.pair(database, other)
        seen = [await steps.identity(database)]
        await batches.submit(database, "a")
        seen.append(await steps.identity(database))
        await batches.submit(other, "b")
        await steps.merge(database, *await steps.owed(other))
        seen.append(await steps.identity(database))
        assert len({each.incarnation for each in seen}) == 1
        assert seen[0].sequence < seen[1].sequence < seen[2].sequence
        assert seen[2].continues(seen[0])
        assert not seen[0].continues(seen[2])
        assert not seen[0].continues(None)
        assert not (await steps.identity(other)).continues(seen[0])

    async def test_peer_is_remembered_and_never_falls(self, database, other):
        assert (await database.replication.standing()).peer is None
        peer = await steps.identity(other)
        await steps.merge(database, source=peer)
        assert (await database.replication.standing()).peer is None
        await database.replication.distrust(peer)
        later = Identity(peer.incarnation, peer.sequence + 5)
        await steps.merge(database, source=later)
        await steps.merge(database, source=peer)
        await database.replication.settle([], peer=peer)
        assert (await database.replication.standing()).peer == later
        await database.replication.settle([], peer=Identity(peer.incarnation, later.sequence + 1))
        assert (await database.replication.standing()).peer.sequence == later.sequence + 1
        await steps.merge(database, source=steps.STRANGER)
        assert (await database.replication.standing()).peer.incarnation == peer.incarnation

    async def test_distrust_makes_every_row_owed_again(self, database, other, clock):
        await steps.pair(database, other)
        batch_id = await batches.submit(database, "a", "b", seal=True)
        await database.batches.renew_lease(builders.worker("w1", clock.now()))
        await batches.complete(database, *await batches.claim(database))
        await database.batches.end_batches([batch_id])
        await documents.open_papers(database)
        await steps.show(database, steps.OLD)
        everything = await steps.owed(database)
        await steps.exchange(database, other)
        assert await database.replication.distrust(steps.STRANGER) == len(everything)
        assert [(row.kind, row.key, row.token) for row in await steps.owed(database)] == [
            (row.kind, row.key, row.token) for row in everything
        ]
        assert (await database.replication.standing()).peer == steps.STRANGER

    async def test_distrust_owes_what_was_set_aside_too(self, database, other):
        await steps.pair(database, other)
        await batches.submit(database, "a")
        (row,) = await steps.owed(database, Kind.RECORD)
        await database.replication.set_aside([SetAside(row.kind, row.key, row.token, "no")])
        await database.replication.distrust(await steps.identity(other))
        assert (await database.replication.count_owed()).set_aside == 0
        assert len(await steps.owed(database, Kind.RECORD)) == 1

    async def test_database_that_came_back_older_or_as_another_merges_nothing(self, database, other):
        """Else its number would rise past the one it lost, and nobody could tell."""
        await steps.pair(database, other)
        await batches.submit(other, "a")
        rows = await steps.owed(other)
        mine, source = await steps.identity(database), await steps.identity(other)
        for expects in [replace(mine, sequence=mine.sequence + 1), steps.STRANGER]:
            merged = await database.replication.merge(rows, source=source, expects=expects)
            assert (merged.expected, list(merged.merges)) == (False, [])
        assert await batches.all_batch_ids(database) == []
        merged = await database.replication.merge(rows, source=source, expects=mine)
        assert merged.expected
        assert {each.fate for each in merged.merges} == {Fate.HELD}

    async def test_reincarnated_database_is_another_one(self, database, other):
        before = await steps.identity(database)
        now = await database.replication.reincarnate()
        assert now == await steps.identity(database)
        assert not now.continues(before)

    async def test_touching_changes_nothing(self, database, other):
        await steps.pair(database, other)
        await database.replication.touch()
        assert await steps.owed(database) == []


class ActingContract:
    async def test_nobody_acts_at_first(self, database):
        assert (await database.replication.standing()).acting == Acting()

    async def test_higher_term_wins_and_is_kept_whole(self, database, clock):
        two = Acting(2, "two", clock.now(), "p1", "it died", Missing(17, clock.now() - timedelta(seconds=3)))
        assert await database.replication.set_acting(two) == two
        assert await database.replication.set_acting(Acting(1, "one", clock.now(), "p2")) == two
        assert (await database.replication.standing()).acting == two
        three = Acting(3, "one", clock.now(), "p2", missing=Missing(None, clock.now()))
        assert await database.replication.set_acting(three) == three
        assert (await database.replication.standing()).acting == three

    async def test_of_two_rows_of_one_term_every_database_keeps_the_same(self, database, other, clock):
        one, two = Acting(4, "one", clock.now(), "p1"), Acting(4, "two", clock.now(), "p2")
        for first, second, on in [(one, two, database), (two, one, other)]:
            await on.replication.set_acting(first)
            await on.replication.set_acting(second)
        assert (await database.replication.standing()).acting == (await other.replication.standing()).acting

    async def test_every_merge_and_page_tells_who_acts(self, database, clock):
        acting = Acting(2, "two", clock.now(), "p1")
        await database.replication.set_acting(acting)
        merged = await database.replication.merge([], source=Identity(uuid4(), 0))
        assert merged.standing.acting == acting
        assert (await database.replication.owed(limit=1)).standing.acting == acting
