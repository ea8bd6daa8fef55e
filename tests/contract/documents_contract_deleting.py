"""Deleting: documents go with all their versions and chunks; their vectors stay."""

from uuid import uuid4

from gristmill.ports.database import Database
from gristmill.ports.documents import Published
from tests.contract import documents_contract_steps as steps
from tests.contract.documents_contract_publishing import NEW, OLD, OTHER
from tests.support import builders


class DeletingContract:
    async def test_deleted_documents_are_gone_everywhere(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD, OTHER)
        assert await database.documents.delete_documents([OLD.document_id, uuid4()]) == 1
        for _ in range(2):
            assert await steps.found(database, "old same other") == {"other"}
            assert await steps.near(database) == {"other"}
            assert await database.documents.find_documents([OLD.document_id]) == {}
            assert await steps.chunk_texts(database, OLD.document_id) == []
            assert await steps.counts(database) == {"papers": (1, 1)}
            await database.tidy()
        assert await database.documents.delete_documents([OLD.document_id]) == 0
        assert await database.documents.delete_documents([]) == 0

    async def test_vectors_of_deleted_documents_stay(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        await database.documents.delete_documents([OLD.document_id])
        await database.tidy()
        vector_ids = [chunk.vector_id for chunk in OLD.chunks]
        assert await database.documents.missing_vectors(vector_ids) == set()

    async def test_version_staged_before_the_delete_is_not_published(self, database: Database):
        await steps.open_papers(database)
        (wanted,) = await database.documents.stage_versions([OLD])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(OLD))
        assert await database.documents.delete_documents([OLD.document_id]) == 0
        assert await database.documents.publish({OLD.document_id: wanted}) == {
            OLD.document_id: Published.SUPERSEDED
        }
        assert await steps.near(database) == set()
        assert await steps.counts(database) == {"papers": (0, 0)}

    async def test_update_staged_before_the_delete_is_not_published(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        (wanted,) = await database.documents.stage_versions([NEW])
        await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(NEW))
        assert await database.documents.delete_documents([OLD.document_id]) == 1
        assert await database.documents.publish({NEW.document_id: wanted}) == {
            NEW.document_id: Published.SUPERSEDED
        }
        assert await steps.near(database) == set()

    async def test_deleted_document_can_come_back(self, database: Database):
        await steps.open_papers(database)
        await steps.show(database, OLD)
        await database.documents.delete_documents([OLD.document_id])
        await steps.show(database, OLD)
        await database.tidy()
        assert await steps.chunk_texts(database, OLD.document_id) == ["old one", "old two", "same"]
        assert await steps.near(database) == {"old one", "old two", "same"}
