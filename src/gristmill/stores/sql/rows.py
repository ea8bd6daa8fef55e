"""Between records and their rows, which are read and written raw and in bulk: a record has 35 columns."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, type_coerce
from sqlalchemy.types import NullType

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Record, RecordStatus, Result, claim_order
from gristmill.domain.versions import Ending, Step, Version
from gristmill.stores.sql.columns import instant, json_mapping, json_text, moment, storable
from gristmill.stores.sql.tables import records

NAMES = tuple(column.name for column in records.columns if column.name != "no")
# What never changes comes first; the rest is written with every move.
STATE_NAMES = NAMES[NAMES.index("created_at") + 1 :]
# What completing a record that carries no error changes: half of that, and no column of the sparse indexes but one.
COMPLETED_NAMES = (
    "updated_at",
    "status",
    "stage",
    "progress",
    "claim_id",
    "worker",
    "ended_at",
    "result",
    "ending",
    "step",
    "revision",
    "stamp",
    "write_id",
    "owed",
)
SHOWN_NAMES = ("updated_at", "stage", "progress", "revision", "stamp", "write_id", "owed")
# What ``record_of`` reads: first the key, then NAMES, as they are stored, without the cost of a type each.
COLUMNS = tuple(type_coerce(column, NullType()).label(column.name) for column in records.columns)
# A number that no other record of this database has, as text.
ROW_TEXT = cast(records.c.no, Text)

Values = tuple[Any, ...]

_RESULT_NAMES = tuple(field.name for field in fields(Result))
_STATUSES = {status.value: status for status in RecordStatus}
_ENDINGS = {ending.value: ending for ending in Ending}
_STEPS = {step.value: step for step in Step}


def error_key(failure: Failure) -> bytes:
    """Names one category and message among the error types of a batch."""
    text = f"{failure.category.value}\x00{storable(failure.message)}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def values_of(record: Record) -> Values:
    """In the order of NAMES."""
    order, record_id = claim_order(record)
    return (
        record_id.bytes,
        record.batch_id.bytes,
        record.item_id,
        record.kind,
        None if record.source is None else storable(record.source),
        json_text(record.payload) if record.payload else "{}",
        record.priority,
        order,
        instant(record.created_at),
        *state_of(record),
    )


def state_of(record: Record) -> Values:
    """In the order of STATE_NAMES."""
    version, error = record.version, record.error
    return (
        instant(record.updated_at),
        instant(record.next_attempt_at),
        record.status.value,
        record.stage,
        record.progress,
        record.attempts,
        record.retries_total,
        record.claim_id,
        record.worker,
        None if error is None else error.category.value,
        None if error is None else storable(error.message),
        None if record.last_error_at is None else instant(record.last_error_at),
        None if record.started_at is None else instant(record.started_at),
        None if record.ended_at is None else instant(record.ended_at),
        None if record.result is None else _result_text(record.result),
        version.tombstone,
        version.round,
        version.ending.value,
        version.epoch,
        version.step.value,
        version.revision,
        version.stamp,
        version.write_id,
        True,
        _due(record),
        None if error is None else error_key(error),
    )


def completed_of(record: Record) -> Values:
    """In the order of COMPLETED_NAMES."""
    version = record.version
    return (
        instant(record.updated_at),
        record.status.value,
        record.stage,
        record.progress,
        record.claim_id,
        record.worker,
        None if record.ended_at is None else instant(record.ended_at),
        None if record.result is None else _result_text(record.result),
        version.ending.value,
        version.step.value,
        version.revision,
        version.stamp,
        version.write_id,
        True,
    )


def shown_of(record: Record) -> Values:
    """What ``moves.progressed`` changes, in the order of SHOWN_NAMES."""
    version = record.version
    return (
        instant(record.updated_at),
        record.stage,
        record.progress,
        version.revision,
        version.stamp,
        version.write_id,
        True,
    )


def _due(record: Record) -> bool | None:
    if record.status is not RecordStatus.PENDING:
        return None
    return record.next_attempt_at <= record.updated_at


_NO_RESULT = Result()


def _result_text(result: Result) -> str:
    """JSON of what differs from an empty result."""
    if result == _NO_RESULT:
        return "{}"
    values = {name: getattr(result, name) for name in _RESULT_NAMES}
    told = {name: value for name, value in values.items() if value != getattr(_NO_RESULT, name)}
    if result.document_id is not None:
        told["document_id"] = str(result.document_id)
    return json_text(told)


def _result_of(text: str) -> Result:
    told = json.loads(text)
    if "document_id" in told:
        told["document_id"] = UUID(told["document_id"])
    if "warnings" in told:
        told["warnings"] = tuple(told["warnings"])
    return Result(**told)


@lru_cache(maxsize=1024)
def _batch_id(stored: bytes) -> UUID:
    return UUID(bytes=stored)


def record_of(row: Sequence[Any]) -> Record:
    """The record of a row that holds COLUMNS, raw."""
    (
        _, _, batch_id, item_id, kind, source, payload, priority, _, created_at,
        updated_at, next_attempt_at, status, stage, progress, attempts, retries_total, claim_id, worker,
        error_category, error_message, last_error_at, started_at, ended_at, result,
        tombstone, round_, ending, epoch, step, revision, stamp, write_id, *_,
    ) = row  # fmt: skip
    created = moment(created_at)
    return Record(
        batch_id=_batch_id(batch_id),
        item_id=item_id,
        kind=kind,
        source=source,
        payload=json_mapping(payload),
        priority=priority,
        created_at=created,
        updated_at=moment(updated_at),
        next_attempt_at=created if next_attempt_at == created_at else moment(next_attempt_at),
        version=Version(
            tombstone=bool(tombstone),
            round=round_,
            ending=_ENDINGS[ending],
            epoch=epoch,
            step=_STEPS[step],
            revision=revision,
            stamp=stamp,
            write_id=write_id,
        ),
        status=_STATUSES[status],
        stage=stage,
        progress=progress,
        attempts=attempts,
        retries_total=retries_total,
        claim_id=claim_id,
        worker=worker,
        error=None if error_category is None else Failure(FailureCategory(error_category), error_message),
        last_error_at=None if last_error_at is None else moment(last_error_at),
        started_at=None if started_at is None else moment(started_at),
        ended_at=None if ended_at is None else moment(ended_at),
        result=None if result is None else _result_of(result),
    )
