"""What a worker holds by its own account, and what it holds without knowing it.

The answer to a claim can be lost after the claim was stored: a time-out, a database that dies and is back later. Such
records bear the name of a worker that lives and never heard of them (C2).
"""

from collections.abc import Collection, Sequence
from uuid import UUID

import structlog

from gristmill.domain.record import Record
from gristmill.ports.batches import Batches

_log = structlog.get_logger(__name__)


class InHand:
    def __init__(self, batches: Batches, worker_id: str) -> None:
        self._batches = batches
        self._worker_id = worker_id
        self._held: set[UUID] = set()
        self._begun = 0
        self._under_way = 0

    async def claim(
        self, *, limit: int, kinds: Collection[str], batch_id: UUID | None = None
    ) -> Sequence[Record]:
        """As the port does; ``put_down`` the records once their outcomes are stored or they are given back."""
        self._begun += 1
        self._under_way += 1
        try:
            claimed = await self._batches.claim_records(
                self._worker_id, limit=limit, kinds=kinds, batch_id=batch_id
            )
            self._held |= {record.record_id for record in claimed}
            return claimed
        finally:
            self._under_way -= 1

    def put_down(self, records: Sequence[Record]) -> None:
        self._held -= {record.record_id for record in records}

    async def give_back_unknown(self) -> int:
        """Release what the database says is ours and nobody here works on; returns how many records it was.

        Nothing while a claim is under way: what it is about to bring is not unknown.
        """
        begun = self._begun
        if self._under_way:
            return 0
        held = await self._batches.list_held(self._worker_id)
        unknown = [record for record in held if record.record_id not in self._held]
        if not unknown or self._begun != begun:
            return 0
        released = await self._batches.release_records(unknown)
        _log.info("unknown_claims_given_back", worker=self._worker_id, records=released)
        return released
