"""A document that is edited on one side of a split and deleted on the other, over PostgreSQL and Qdrant (V4)."""

import pytest

from gristmill.insights.conflicts import conflicts
from gristmill.insights.stores import Patience
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.contract.failover_setups import QUIET
from tests.support.clocks import ManualClock
from tests.support.server_pairs import ORDERS, server_pair

DOCUMENT = steps.OLD.document_id


@pytest.mark.parametrize("later", ["the edit", "the deletion"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_the_later_of_an_edit_and_a_deletion_wins_on_both(postgres, order, later):
    clock = ManualClock()
    async with server_pair(clock, postgres, order) as pair:
        database = pair.over(clock, QUIET)
        await database.open()
        await documents.open_papers(database)
        await steps.show(database, steps.OLD)
        edits, deletes = database.databases

        async def edit():
            assert await edits.documents.update_metadata({DOCUMENT: {"edited": True}}) == 1

        async def delete():
            assert await deletes.documents.delete_documents([DOCUMENT]) == 1

        for deed in (delete, edit) if later == "the edit" else (edit, delete):
            clock.advance(1)
            await deed()
        await pair.converge(database)
        for side in database.databases:
            found = await side.documents.find_documents([DOCUMENT])
            assert [each.metadata for each in found.values()] == (
                [{"edited": True}] if later == "the edit" else []
            )
            texts = {"old one", "old two"} if later == "the edit" else set()
            assert await documents.near(side) == await documents.found(side, "old") == texts
        (found,) = (await conflicts(database.databases, limit=9, patience=Patience())).lost
        loser, winner = ("deletion", "edit") if later == "the edit" else ("edit", "deletion")
        assert (found.conflict.lost, found.conflict.won) == (loser, winner)
        assert found.database == (deletes if later == "the edit" else edits).name
        await database.close()
