"""Two databases whose documents are written apart come to hold the same by what they owe each other alone."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.stores.memory import MemoryDatabase
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

TEXTS = ["one", "two", "three"]
DEEDS = ["stage", "show", "publish", "edit", "edit", "delete", "send", "send some"]
histories = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(DEEDS), st.sampled_from(TEXTS), st.integers(-5, 9)),
    min_size=3,
    max_size=16,
)


async def play(databases, clocks, history) -> None:
    await documents.open_papers(databases[0])
    await documents.show(databases[0], builders.version("file:///a", TEXTS[:1]))
    await steps.pair(*databases)
    await steps.exchange(*databases)
    wanted = {}
    for where, deed, text, seconds in history:
        database, other = databases[where], databases[1 - where]
        clocks[where].advance(seconds=seconds)
        version = builders.version("file:///a", [text, "shared"], metadata={"text": text})
        match deed:
            case "stage" | "show":
                (wanted[version.document_id],) = await database.documents.stage_versions([version])
                if deed == "show":
                    await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(version))
                    await database.documents.publish(wanted)
            case "publish":
                await database.documents.publish(wanted)
            case "edit":
                await database.documents.update_metadata({version.document_id: {"by": text, "s": seconds}})
            case "delete":
                await database.documents.delete_documents([version.document_id])
            case "send":
                await steps.take_across(database, other)
            case "send some":
                await steps.merge(other, *(await steps.owed(database))[::2])


async def shown(database):
    found = await database.documents.find_documents([builders.version("file:///a", []).document_id])
    return found, await documents.near(database), await documents.found(database, " ".join(TEXTS))


# Edited on one side after it was ingested anew and deleted on the other, whose clock is behind.
BURIED = [(0, "show", "two", 1), (0, "delete", "one", 1), (1, "edit", "one", 9), (1, "send", "one", 0)]


@settings(max_examples=60, deadline=None)
@given(histories)
@example(BURIED)
def test_documents_converge_by_what_is_owed(history):
    async def converge() -> None:
        clocks = [ManualClock(), ManualClock()]
        databases = [MemoryDatabase(clock, name=name) for clock, name in zip(clocks, "ab", strict=True)]
        await play(databases, clocks, history)
        await steps.exchange(*databases)
        one, other = [await shown(each) for each in databases]
        assert one == other
        assert bool(one[0]) == bool(one[1])

    asyncio.run(converge())
