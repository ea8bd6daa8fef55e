"""What goes when a document changes: versions that it cannot need any more, and their chunks.

Its order: the version's point (by compare-and-set, so that one that is staged again meanwhile stays), then its
chunks. Chunks that a crash left without a version are of no later stamp than what the document shows or was deleted
at, and go with the next change.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from gristmill.stores.qdrant.document_points import Stored
from gristmill.stores.qdrant.document_store import DocumentStore
from gristmill.stores.qdrant.points import (
    TOKEN,
    Payload,
    Points,
    any_of,
    equals,
    groups,
    has_id,
    where,
    where_any,
    within,
)
from gristmill.stores.qdrant.version_points import StoredVersion

_DOCUMENTS_A_SLICE = 64


class DocumentsForget(DocumentStore):
    async def _forget_versions(self, documents: Iterable[Stored]) -> None:
        """``documents`` as they are stored now."""
        for some in groups(documents, _DOCUMENTS_A_SLICE):
            versions = await self._all_versions_of([each.document_id for each in some])
            facts = {each.document_id: each.facts for each in some}
            unneeded = {
                each.point_id: each
                for each in versions
                if not facts[each.content.document_id].needs(each.content.version, each.ordinal)
            }
            dropped = await self._drop(unneeded)
            kept = [each for each in versions if each.point_id not in dropped]
            collections = await self._collections(each.collection for each in some)
            for name, collection in collections.items():
                ours = [each for each in some if each.collection == name]
                await self._delete_chunks(await self._chunks(collection), ours, dropped.values(), kept)

    async def _drop(self, unneeded: dict[UUID, StoredVersion]) -> dict[UUID, StoredVersion]:
        if not unneeded:
            return {}
        tokens = any_of(TOKEN, [each.token for each in unneeded.values()])
        await self._versions.delete(where(has_id(unneeded), tokens))
        still = await self._versions.get(unneeded, fields=[TOKEN])
        return {each: version for each, version in unneeded.items() if each not in still}

    async def _delete_chunks(
        self,
        chunks: Points,
        documents: Sequence[Stored],
        dropped: Iterable[StoredVersion],
        kept: Sequence[StoredVersion],
    ) -> None:
        staging: dict[UUID, set[str]] = {each.document_id: set() for each in documents}
        for version in kept:
            if version.content.document_id in staging:
                staging[version.content.document_id].add(version.staging)
        left_over = []
        for each in documents:
            stagings = staging[each.document_id] | ({each.staging} if each.staging else set())
            until = max(each.facts.deleted, each.live.ordinal if each.live else 0)
            left_over.append(
                where(
                    equals("document_id", str(each.document_id)),
                    within("ordinal", lte=until),
                    without=[any_of("staging", stagings)] if stagings else (),
                )
            )
        gone = [version.staging for version in dropped if version.content.document_id in staging]
        await chunks.delete(where_any([*left_over, *([where(any_of("staging", gone))] if gone else [])]))

    async def _delete_stagings(self, chunks: Points, given_up: Iterable[str]) -> None:
        stagings = list(given_up)
        if stagings:
            await chunks.delete(where(any_of("staging", stagings)))

    async def _whole(self, collection: Payload, versions: Iterable[StoredVersion]) -> set[UUID]:
        """The ids of those points of versions whose chunks are all there."""
        given = list(versions)
        if not given:
            return set()
        chosen = where(any_of("staging", [each.staging for each in given]))
        counts = await (await self._chunks(collection)).facet("staging", chosen)
        return {each.point_id for each in given if counts.get(each.staging, 0) == each.chunks}
