"""Between records and their points.

Besides the record's own fields a point has what is filtered, ordered and counted by: ``claim_order``, ``outcome``
(the status, and of failed records the category and attempts, so that one facet counts everything the views show),
``error_key``, the keys of its place among the item ids, and when its batch was created.
"""

import hashlib
from functools import lru_cache
from typing import Any
from uuid import UUID

from qdrant_client import models

from gristmill.domain import identity
from gristmill.domain.batch import Counters
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Record, RecordStatus, Result, claim_order, is_permanently_failed
from gristmill.domain.versions import Ending, Step, Version
from gristmill.stores.qdrant.batch_points import StoredBatch
from gristmill.stores.qdrant.marks import FIELDS, Marks
from gristmill.stores.qdrant.points import TOKEN, Payload, point
from gristmill.stores.qdrant.text_order import KEYS, place
from gristmill.stores.qdrant.values import (
    instant,
    instant_or_none,
    json_text,
    json_value,
    moment,
    moment_or_none,
    storable,
)

_MESSAGE_IN_KEY = 200


def error_key(failure: Failure) -> str:
    """Names a category and message; keys sort as these do."""
    message = storable(failure.message)
    digest = hashlib.blake2b(message.encode(), digest_size=16).hexdigest()
    return f"{failure.category.value}\x1f{message[:_MESSAGE_IN_KEY]}\x1f{digest}"


def category_of(key: str) -> str:
    return key.split("\x1f", maxsplit=1)[0]


def placed_in(batch: StoredBatch, item_id: str) -> Payload:
    """What the point of a new record takes from its batch, which must have a reference (see text_order)."""
    assert batch.reference is not None
    places = zip(KEYS, place(item_id, batch.reference), strict=True)
    return {"batch_created_at": instant(batch.facts.header.created_at), **dict(places)}


def placed_as(payload: Payload) -> Payload:
    """The same of a stored point."""
    return {name: payload[name] for name in ("batch_created_at", *KEYS)}


def point_of(record: Record, placed: Payload, marks: Marks) -> models.PointStruct:
    version, error, status = record.version, record.error, record.status.value
    order, record_id = claim_order(record)
    failed = record.status is RecordStatus.FAILED and error is not None
    payload: dict[str, Any] = {
        "batch_id": str(record.batch_id),
        "item_id": record.item_id,
        "kind": record.kind,
        "source": None if record.source is None else storable(record.source),
        "payload": json_text(record.payload),
        "priority": record.priority,
        "created_at": instant(record.created_at),
        "updated_at": instant(record.updated_at),
        "next_attempt_at": instant(record.next_attempt_at),
        "status": status,
        "stage": record.stage,
        "progress": record.progress,
        "attempts": record.attempts,
        "retries_total": record.retries_total,
        "claim_id": record.claim_id,
        "worker": record.worker,
        "error_category": None if error is None else error.category.value,
        "error_message": None if error is None else storable(error.message),
        "last_error_at": instant_or_none(record.last_error_at),
        "started_at": instant_or_none(record.started_at),
        "ended_at": instant_or_none(record.ended_at),
        "result": None if record.result is None else _result_text(record.result),
        "tombstone": version.tombstone,
        "round": version.round,
        "ending": version.ending.value,
        "epoch": version.epoch,
        "step": version.step.value,
        "revision": version.revision,
        "stamp": version.stamp,
        TOKEN: version.write_id,
        "claim_order": order,
        "outcome": f"{status}/{error.category.value}/{record.attempts}" if failed and error else status,
        "error_key": None if error is None else error_key(error),
        **placed,
        **marks,
    }
    # What is null has no value to order by.
    return point(record_id, {key: value for key, value in payload.items() if value is not None})


def id_of(payload: Payload) -> UUID:
    return identity.record_id(_batch_id(payload["batch_id"]), payload["item_id"])


@lru_cache(maxsize=1024)
def _batch_id(stored: str) -> UUID:
    return UUID(stored)


# What ``version_of``, ``placed_as`` and ``marks_of`` look at.
COMPARED = (
    *("tombstone", "round", "ending", "epoch", "step", "revision", "stamp", TOKEN),
    *("batch_created_at", *KEYS, *FIELDS),
)


def version_of(payload: Payload) -> Version:
    return Version(
        tombstone=payload["tombstone"],
        round=payload["round"],
        ending=Ending(payload["ending"]),
        epoch=payload["epoch"],
        step=Step(payload["step"]),
        revision=payload["revision"],
        stamp=payload["stamp"],
        write_id=payload[TOKEN],
    )


def record_of(payload: Payload) -> Record:
    get = payload.get
    category, result = get("error_category"), get("result")
    return Record(
        batch_id=_batch_id(payload["batch_id"]),
        item_id=payload["item_id"],
        kind=payload["kind"],
        source=get("source"),
        payload=json_value(payload["payload"]),
        priority=payload["priority"],
        created_at=moment(payload["created_at"]),
        updated_at=moment(payload["updated_at"]),
        next_attempt_at=moment(payload["next_attempt_at"]),
        version=version_of(payload),
        status=RecordStatus(payload["status"]),
        stage=payload["stage"],
        progress=payload["progress"],
        attempts=payload["attempts"],
        retries_total=payload["retries_total"],
        claim_id=get("claim_id"),
        worker=get("worker"),
        error=None if category is None else Failure(FailureCategory(category), payload["error_message"]),
        last_error_at=moment_or_none(get("last_error_at")),
        started_at=moment_or_none(get("started_at")),
        ended_at=moment_or_none(get("ended_at")),
        result=None if result is None else _result_of(json_value(result)),
    )


def _result_text(result: Result) -> str:
    return json_text(
        {
            "document_id": None if result.document_id is None else str(result.document_id),
            "version": result.version,
            "chunks": result.chunks,
            "reused": result.reused,
            "superseded": result.superseded,
            "warnings": list(result.warnings),
            "details": dict(result.details),
        }
    )


def _result_of(stored: dict[str, Any]) -> Result:
    document_id = stored.pop("document_id")
    return Result(
        document_id=None if document_id is None else UUID(document_id),
        warnings=tuple(stored.pop("warnings")),
        **stored,
    )


class Outcomes:
    """The counts of one facet of ``outcome``."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = [(key.split("/"), count) for key, count in counts.items()]

    @property
    def counters(self) -> Counters:
        found: dict[RecordStatus, int] = {}
        for (status, *_), count in self._counts:
            found[RecordStatus(status)] = found.get(RecordStatus(status), 0) + count
        return Counters.of(found)

    @property
    def failures(self) -> dict[str, int]:
        """Failed records by category."""
        found: dict[str, int] = {}
        for category, _, count in self._failed():
            found[category] = found.get(category, 0) + count
        return found

    def permanent_failures(self, max_attempts: int) -> int:
        return sum(
            count
            for category, attempts, count in self._failed()
            if is_permanently_failed(FailureCategory(category), attempts, max_attempts)
        )

    def _failed(self) -> list[tuple[str, int, int]]:
        return [(key[1], int(key[2]), count) for key, count in self._counts if len(key) == 3]
