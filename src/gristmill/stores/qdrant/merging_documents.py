"""Collections, vectors, chunks and documents that come from another database.

Each is one compare-and-set after what it rests on: the chunks of a version before its point, chunks with their
vectors before the document's point. What was written for one that was changed meanwhile is given up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import cast
from uuid import UUID

from gristmill.domain.conflicts import Conflict, conflicts
from gristmill.domain.document import Collection
from gristmill.domain.document_facts import DocumentFacts
from gristmill.ports.errors import CollectionConflictError
from gristmill.ports.replication import Fate, Merge
from gristmill.ports.rows import ChunksRow, Kind, Row, VectorRow, merged, row_of
from gristmill.stores.qdrant import conflict_points, document_points, schema, vector_points
from gristmill.stores.qdrant.document_points import Stored, collection_id, collection_of, unstored
from gristmill.stores.qdrant.documents_show import Change
from gristmill.stores.qdrant.documents_write import DocumentsWrite
from gristmill.stores.qdrant.marks import OWED, marks_of
from gristmill.stores.qdrant.merging_records import Merges, Rows, first_of_each
from gristmill.stores.qdrant.points import TOKEN, Payload
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.version_points import StoredVersion, new_version

_NO_COLLECTION = "its collection is not here yet"
_INCOMPLETE = "its chunks and vectors are not here yet"


class DocumentMerging(DocumentsWrite):
    async def merge(self, kind: Kind, rows: Rows) -> Merges:
        match kind:
            case Kind.COLLECTION:
                return await self.merge_collections(rows)
            case Kind.VECTOR:
                return await self.merge_vectors(rows)
            case Kind.CHUNKS:
                return await self.merge_chunks(rows)
            case _:
                return await self.merge_documents(rows)

    async def merge_collections(self, rows: Rows) -> Merges:
        merges: Merges = {}
        for n, row in rows.items():
            merge = None
            while merge is None:
                merge = await self._merge_collection(row, cast("Collection", row.body))
            merges[n] = merge
        return merges

    async def _merge_collection(self, row: Row, incoming: Collection) -> Merge | None:
        """None if another write came between."""
        point_id = collection_id(incoming.name)
        there = (await self._state.get([point_id])).get(point_id)
        before = None if there is None else collection_of(there)
        try:
            body = cast("Collection", merged(before, incoming))
        except CollectionConflictError as error:
            token = None if before is None else row_of(before).token
            return Merge(row, Fate.REFUSED, token, str(error))
        if body != before:
            await self._make_room_for(body)
            point = document_points.collection_point(
                body,
                marks=marks_of(there or {}),
                reference=(there or {}).get("reference"),
                mean_length=(there or {}).get("mean_length"),
            )
            if not await self._state.swap([point], [there[TOKEN]] if there else []):
                return None
        return Merge(row, Fate.HELD, row_of(body).token)

    async def merge_vectors(self, rows: Rows) -> Merges:
        by_size: dict[int, list[VectorRow]] = {}
        for row in rows.values():
            body = cast("VectorRow", row.body)
            by_size.setdefault(body.embedding.dimensions, []).append(body)
        for dimensions, bodies in by_size.items():
            points = await self._schema.ensure(schema.vectors_of(dimensions))
            here = await points.get((each.vector_id for each in bodies), fields=[TOKEN])
            await points.insert(
                [
                    vector_points.point_of(each.vector_id, each.embedding, each.vector, {})
                    for each in bodies
                    if each.vector_id not in here
                ]
            )
        return {n: Merge(row, Fate.HELD, row.token) for n, row in rows.items()}

    # -- chunks --------------------------------------------------------------------------------------

    async def merge_chunks(self, rows: Rows) -> Merges:
        merges: Merges = {}
        bodies = {n: cast("ChunksRow", row.body) for n, row in rows.items()}
        collections = await self._collections_here(each.content.collection for each in bodies.values())
        for n, body in bodies.items():
            if body.content.collection not in collections:
                merges[n] = Merge(rows[n], Fate.WITHHELD, None, _NO_COLLECTION)
        while left := first_of_each({n: row for n, row in rows.items() if n not in merges}):
            documents = await self._stored(bodies[n].content.document_id for n in left)
            for name, collection in collections.items():
                ours = {n: row for n, row in left.items() if bodies[n].content.collection == name}
                merges |= await self._merge_chunks(collection, ours, documents)
        await self._forget_unneeded(bodies.values())
        return merges

    async def _merge_chunks(
        self, collection: Payload, rows: Rows, documents: Mapping[UUID, Stored]
    ) -> Merges:
        merges: Merges = {}
        bodies = {n: cast("ChunksRow", row.body) for n, row in rows.items()}
        known = await self._versions_of((b.content.document_id, b.content.version) for b in bodies.values())
        whole = await self._whole(collection, known.values())
        now, stamps = instant(self._clock.now()), dict[UUID, int]()
        changed, fresh = dict[int, StoredVersion](), list[tuple[ChunksRow, StoredVersion]]()
        for n, body in bodies.items():
            document = documents.get(body.content.document_id)
            stored = known.get((body.content.document_id, body.content.version))
            if document is not None and not document.facts.needs(body.content.version, body.ordinal):
                merges[n] = Merge(rows[n], Fate.HELD, None)
            elif stored is None or stored.point_id not in whole:
                marks = stored.marks if stored else {}
                new = replace(new_version(body, marks), token=stored.token if stored else "")
                changed[n] = new
                fresh.append((body, new))
                # Left without a version by a crash, they go when the document comes that shows this one.
                stamps[new.point_id] = document.facts.next_stamp(now) if document else body.ordinal
            else:
                last = cast("ChunksRow", merged(stored.row(()), body))
                new = replace(stored, ordinal=last.ordinal, write_id=last.write_id)
                if new == stored:
                    merges[n] = Merge(rows[n], Fate.HELD, stored.row_token)
                else:
                    changed[n] = new
        won = await self._put_versions(collection, list(changed.values()), fresh, stamps)
        return merges | {
            n: Merge(rows[n], Fate.HELD, new.row_token) for n, new in changed.items() if new.point_id in won
        }

    async def _forget_unneeded(self, rows: Iterable[ChunksRow]) -> None:
        """What a document that was changed meanwhile needs no more."""
        given = list(rows)
        stored = await self._stored(each.content.document_id for each in given)
        unneeded = {
            each.content.document_id
            for each in given
            if each.content.document_id in stored
            and not stored[each.content.document_id].facts.needs(each.content.version, each.ordinal)
        }
        await self._forget_versions(stored[each] for each in unneeded)

    async def _collections_here(self, names: Iterable[str]) -> dict[str, Payload]:
        found = await self._state.get(map(collection_id, names))
        return {each["name"]: each for each in found.values()}

    # -- documents -----------------------------------------------------------------------------------

    async def merge_documents(self, rows: Rows) -> Merges:
        merges, held = Merges(), list[DocumentFacts]()
        facts = {n: cast("DocumentFacts", row.body) for n, row in rows.items()}
        collections = await self._collections_here(each.collection for each in facts.values())
        for n, each in facts.items():
            if each.collection not in collections:
                merges[n] = Merge(rows[n], Fate.WITHHELD, None, _NO_COLLECTION)
            else:
                name = each.collection
                collections[name] = await self._with_reference(collections[name], each.source)
        while left := first_of_each({n: row for n, row in rows.items() if n not in merges}):
            stored = await self._stored(facts[n].document_id for n in left)
            changes, known = dict[int, Change](), list[Stored]()
            for n in left:
                before = stored.get(facts[n].document_id)
                body = cast("DocumentFacts", merged(before.facts if before else None, facts[n]))
                if before is not None and body.token == before.facts.token:
                    merges[n] = Merge(rows[n], Fate.HELD, body.token)
                    known.append(before)
                    held.append(body)
                else:
                    before = before or _nothing_of(body, collections[body.collection])
                    changes[n] = Change(before, body, before.marks)
            await conflict_points.log(
                self._state, self._lost(stored, {facts[n].document_id: facts[n] for n in left})
            )
            await self._forget_versions(known)  # A merge of the same row may have ended before it did.
            shown = await self._show(changes.values())
            # As those that were known; but what they show may bear another write id now.
            same = [
                each for each in changes.values() if not each.is_switched and each.document_id in shown.stored
            ]
            await self._forget_versions(replace(each.before, facts=each.facts) for each in same)
            for n, change in changes.items():
                if change.document_id in shown.incomplete:
                    token = stored[change.document_id].facts.token if change.document_id in stored else None
                    merges[n] = Merge(rows[n], Fate.WITHHELD, token, _INCOMPLETE)
                elif change.document_id in shown.stored:
                    merges[n] = Merge(rows[n], Fate.HELD, change.facts.token)
                    held.append(change.facts)
        await self._owe_outlived(held)
        return merges

    def _lost(
        self, stored: Mapping[UUID, Stored], incoming: Mapping[UUID, DocumentFacts]
    ) -> Iterator[Conflict]:
        """Logged before it is lost; if another write comes between, it may not be lost after all."""
        now = self._clock.now()
        for document_id, before in stored.items():
            facts = incoming[document_id]
            after = cast("DocumentFacts", merged(before.facts, facts))
            yield from conflicts(before.facts, facts, after, owed=OWED in before.marks, now=now)

    async def _owe_outlived(self, held: Iterable[DocumentFacts]) -> None:
        """The other database has dropped their chunks, and takes those that were staged after the deletion."""
        lives = {each.document_id: (each.deleted, each.outlived) for each in held if each.outlived}
        swapped = not lives
        while not swapped:
            keys = [(key, live.version) for key, (_, live) in lives.items() if live]
            changed = []
            for (key, _), version in (await self._versions_of(keys)).items():
                deleted, live = lives[key]
                if live is not None and version.ordinal <= deleted:
                    marks = self._numbers.marks()
                    changed.append(replace(version, ordinal=live.edited, write_id=live.write_id, marks=marks))
            swapped = len(await self._swap_versions(changed)) == len(changed)


def _nothing_of(facts: DocumentFacts, collection: Payload) -> Stored:
    return unstored(DocumentFacts(facts.document_id, facts.collection, facts.source), collection["reference"])
