"""What a merge of two copies of a document takes from one of them: the side that loses goes to a conflict log (V4).

Only what the winner was made without knowing of is a conflict: whoever edits or deletes on top of a write replaces it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gristmill.domain.document_facts import DocumentFacts, Pointer
from gristmill.domain.record import moment

KEPT = 1_000
MOST_METADATA_BYTES = 4_096


class Deed(StrEnum):
    EDIT = "edit"
    VERSION = "version"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A write that was lost, and the one that won. ``key`` is the same whenever the same loss is found.

    ``here``: it was made in the database that found it, else in the other one.
    ``by`` and ``won_by`` are write ids, empty for deletions. ``metadata`` is None where its JSON has more than
    4,096 bytes, and for deletions.
    """

    key: str
    found_at: datetime
    document_id: UUID
    collection: str
    source: str
    lost: Deed
    lost_at: datetime
    by: str
    won: Deed
    won_at: datetime
    won_by: str
    here: bool
    version: str | None = None
    title: str | None = None
    metadata: Mapping[str, object] | None = None


def conflicts(
    stored: DocumentFacts, incoming: DocumentFacts, after: DocumentFacts, *, owed: bool, now: datetime
) -> list[Conflict]:
    """What is lost when ``incoming`` is merged into ``stored``; ``owed``: the other database has not confirmed that one.

    What it has confirmed was compared there.
    """
    found = [_conflict(incoming, after, here=False, now=now)]
    if owed:
        found.append(_conflict(stored, after, here=True, now=now))
    return [each for each in found if each is not None]


def _conflict(side: DocumentFacts, after: DocumentFacts, *, here: bool, now: datetime) -> Conflict | None:
    live = side.live
    if live is None:
        if after.outlived is None or side.deleted != after.deleted:
            return None
    elif _is_known(live, after):
        return None
    lost, lost_at, by = _last(side)
    won, won_at, won_by = _last(after)
    return Conflict(
        key=by or f"{side.document_id}:{side.deleted}",
        found_at=now,
        document_id=side.document_id,
        collection=side.collection,
        source=side.source,
        lost=lost,
        lost_at=moment(lost_at),
        by=by,
        won=won,
        won_at=moment(won_at),
        won_by=won_by,
        here=here,
        version=None if live is None else live.version,
        title=None if live is None else live.title,
        metadata=None if live is None else _bounded(live.metadata),
    )


def _last(facts: DocumentFacts) -> tuple[Deed, int, str]:
    live = facts.live
    if live is None:
        return Deed.DELETION, facts.deleted, ""
    return Deed.EDIT if live.edited != live.ordinal else Deed.VERSION, live.edited, live.write_id


def _is_known(live: Pointer, after: DocumentFacts) -> bool:
    """Whether it is still there, or whoever wrote what is there had it before."""
    winner = after.live
    if winner is None:
        return live.write_id in after.taken
    if live.write_id in (winner.write_id, *winner.seen, *after.taken):
        return True
    return (live.version, live.title, live.metadata) == (winner.version, winner.title, winner.metadata)


def _bounded(metadata: Mapping[str, object]) -> Mapping[str, object] | None:
    return metadata if len(json.dumps(metadata, ensure_ascii=False).encode()) <= MOST_METADATA_BYTES else None
