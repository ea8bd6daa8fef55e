"""The point that says which copy of a database this is, who acts, and what is known of the other database.

It is the point ``meta`` of the collection ``state``; every change of it is a compare-and-set. The number of the
database rises by one with each change and is never taken from a clock: a copy restored to an earlier moment shows a
lower one, and passes the number it had only after as many changes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from qdrant_client import models

from gristmill.ports.clock import Clock
from gristmill.ports.errors import StoreUnavailableError
from gristmill.ports.replication import Acting, Identity, Missing, Standing
from gristmill.stores.qdrant import schema
from gristmill.stores.qdrant.connection import NAME, Connection
from gristmill.stores.qdrant.marks import Numbers
from gristmill.stores.qdrant.points import TOKEN, Payload, Points, any_of, point, swap_by, where
from gristmill.stores.qdrant.values import instant, instant_or_none, moment, moment_or_none

# So often in a row is a point not found by the token it bears before its index counts as wrong.
_REFUSALS = 3
# A peer of this number is continued by no database: a distrust that was cut short is begun again.
_NEVER = 1 << 62
_ROWS = ("batch", "collection", "worker")


@dataclass(frozen=True, slots=True)
class Replica:
    """``distrusts`` counts how often everything was to be owed again, ``distrusted`` is the last one that was finished."""

    identity: Identity
    acting: Acting
    peer: Identity | None
    distrusts: int
    distrusted: int
    token: str

    @property
    def standing(self) -> Standing:
        peer = self.peer
        if peer is not None and self.distrusts != self.distrusted:
            peer = replace(peer, sequence=_NEVER)
        return Standing(self.identity, self.acting, peer)

    def heard_of(self, peer: Identity) -> "Replica":
        """With the other database as it is now, unless it is another one than before."""
        known = self.peer
        if known is None or known.incarnation != peer.incarnation or peer.sequence <= known.sequence:
            return self
        return replace(self, peer=peer)

    def trusts(self, peer: Identity) -> bool:
        """Whether what this peer confirms settles marks."""
        known = self.peer
        return (
            self.distrusts == self.distrusted and known is not None and known.incarnation == peer.incarnation
        )


class ReplicaStore:
    def __init__(self, connection: Connection, clock: Clock, numbers: Numbers) -> None:
        self._state = Points(connection, schema.STATE.name)
        self._clock = clock
        self._numbers = numbers

    async def read(self) -> Replica:
        return (await self.read_beside(()))[0]

    async def read_beside(self, others: Iterable[UUID]) -> tuple[Replica, dict[UUID, Payload]]:
        """It, and of other points of its collection those that are there."""
        found = await self._state.get([schema.META_ID, *others])
        replica = _replica_of(found.pop(schema.META_ID))
        self._numbers.saw(replica.identity.sequence)
        return replica, found

    async def shown(self) -> Replica:
        """As it is to be told: with a number that was raised after the writes of this process."""
        replica = await self.read()
        if self._numbers.written or (replica.identity.sequence == 0 and await self._is_used()):
            return await self.raised(replica)
        return replica

    async def _is_used(self) -> bool:
        """Whether processes that told nobody of their numbers wrote anything."""
        return await self._state.count(where(any_of("type", _ROWS))) > 0

    async def raised(self, before: Replica, *, hearing_of: Identity | None = None) -> Replica:
        """The next number, and the peer. Of a copy that came back older in between nothing is raised."""
        self._numbers.written = False
        return await self._change(
            before, lambda found: found if hearing_of is None else found.heard_of(hearing_of)
        )

    async def closed(
        self,
        before: Replica,
        updates: Sequence[models.UpdateOperation],
        tokens: Mapping[UUID, str],
        *,
        hearing_of: Identity,
    ) -> tuple[Replica, bool]:
        """``raised`` behind other updates of the collection, in one request; also whether the tokens are there then."""
        self._numbers.written = False
        new = _numbered(before.heard_of(hearing_of), before)
        await self._state.update([*updates, swap_by(point(schema.META_ID, _payload(new)), before.token)])
        stored = await self._state.tokens([schema.META_ID, *tokens])
        there = all(stored.get(each) == token for each, token in tokens.items())
        if stored.get(schema.META_ID) == new.token:
            self._numbers.saw(new.identity.sequence)
            return new, there
        return await self._raised_again(before, hearing_of), there

    async def _raised_again(self, before: Replica, hearing_of: Identity) -> Replica:
        found = await self.read()
        if not found.identity.continues(before.identity):
            return found
        return await self.raised(found, hearing_of=hearing_of)

    async def hear_of(self, peer: Identity) -> Replica:
        """Remember the other database as it is now, if there is anything new to remember."""

        def newer(found: Replica) -> Replica | None:
            new = found.heard_of(peer)
            return None if new is found else new

        return await self.change(newer)

    async def change(self, change: Callable[[Replica], Replica | None]) -> Replica:
        """Change it by what ``change`` makes of its newest state, None for nothing; returns what is held then."""
        return await self._change(await self.read(), change)

    async def _change(self, before: Replica, change: Callable[[Replica], Replica | None]) -> Replica:
        def numbered(found: Replica) -> Replica | None:
            new = change(found)
            return None if new is None else _numbered(new, found)

        return await self._swapped(before, numbered)

    async def _swapped(self, before: Replica, change: Callable[[Replica], Replica | None]) -> Replica:
        found, refused = before, 0
        while refused < _REFUSALS:
            new = change(found)
            if new is None:
                return found
            if await self._state.swap_one(point(schema.META_ID, _payload(new)), found.token):
                self._numbers.saw(new.identity.sequence)
                return new
            expected, found = found.token, await self.read()
            refused = refused + 1 if found.token == expected else 0
            if not found.identity.continues(before.identity):
                return found
        raise StoreUnavailableError(
            NAME,
            f"the index '{TOKEN}' of its collection '{self._state.name}' does not find points that are there, as "
            "after a crash of a server older than 1.19",
            "Delete the payload indexes of its collections, they are made anew: see 'Wrong indexes' in docs/qdrant.md.",
        )

    async def touch(self) -> None:
        """Write what is there, as every change does: by compare-and-set."""
        await self._swapped(await self.read(), lambda found: replace(found, token=uuid4().hex))


def _numbered(new: Replica, before: Replica) -> Replica:
    """With the number behind the one before."""
    number = replace(new.identity, sequence=before.identity.sequence + 1)
    return replace(new, identity=number, token=uuid4().hex)


def _payload(replica: Replica) -> Payload:
    return {
        "type": "meta",
        "schema": schema.VERSION,
        "incarnation": str(replica.identity.incarnation),
        "sequence": replica.identity.sequence,
        "acting": _acting_json(replica.acting),
        "peer": None if replica.peer is None else [str(replica.peer.incarnation), replica.peer.sequence],
        "distrusts": replica.distrusts,
        "distrusted": replica.distrusted,
        TOKEN: replica.token,
    }


def _replica_of(payload: Payload) -> Replica:
    peer, acting = payload.get("peer"), payload.get("acting")
    return Replica(
        identity=Identity(UUID(payload["incarnation"]), payload.get("sequence", 0)),
        acting=Acting() if acting is None else _acting_of(acting),
        peer=None if peer is None else Identity(UUID(peer[0]), peer[1]),
        distrusts=payload.get("distrusts", 0),
        distrusted=payload.get("distrusted", 0),
        token=payload[TOKEN],
    )


def _acting_json(acting: Acting) -> dict[str, Any]:
    missing = acting.missing
    return {
        "term": acting.term,
        "database": acting.database,
        "since": instant_or_none(acting.since),
        "by": acting.by,
        "reason": acting.reason,
        "missing": None if missing is None else [missing.rows, instant(missing.since)],
    }


def _acting_of(stored: Payload) -> Acting:
    missing = stored["missing"]
    since: datetime | None = moment_or_none(stored["since"])
    return Acting(
        term=stored["term"],
        database=stored["database"],
        since=since,
        by=stored["by"],
        reason=stored["reason"],
        missing=None if missing is None else Missing(missing[0], moment(missing[1])),
    )
