"""Publishing. A crash before the switch leaves the old version live, and the same call goes on."""

from collections.abc import Mapping
from uuid import UUID

from gristmill.domain.document import Wanted
from gristmill.ports.documents import Published
from gristmill.stores.qdrant.document_points import Stored
from gristmill.stores.qdrant.documents_show import Change
from gristmill.stores.qdrant.documents_write import DocumentsWrite


class DocumentsPublish(DocumentsWrite):
    async def publish(self, wanted: Mapping[UUID, Wanted]) -> Mapping[UUID, Published]:
        published: dict[UUID, Published] = {}
        left = set(wanted)
        while left:
            stored = await self._stored(left)
            for each in list(left):
                answer = _answer(stored.get(each), wanted[each])
                if answer is not None:
                    published[each] = answer
                    left.discard(each)
            shown = await self._show([self._published(stored[each]) for each in left])
            published |= dict.fromkeys(shown.incomplete, Published.INCOMPLETE)
            left -= shown.incomplete
        return {each: published[each] for each in wanted}

    def _published(self, stored: Stored) -> Change:
        write = self._write()
        facts = stored.facts.published(write_id=write.write_id, now=write.now)
        return Change(stored, facts, self._numbers.marks())


def _answer(stored: Stored | None, ours: Wanted) -> Published | None:
    """What publishing comes to without doing anything; None if there is something to do."""
    wanted = None if stored is None else stored.facts.wanted
    if stored is None or wanted is None:
        return Published.SUPERSEDED
    if wanted.ordinal < ours.ordinal:
        return Published.INCOMPLETE
    if wanted.version != ours.version:
        return Published.SUPERSEDED
    return Published.LIVE if stored.live is not None and stored.live.ordinal == wanted.ordinal else None
