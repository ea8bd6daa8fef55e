"""Looking at batches and records. Counts are facets over payload indexes; nothing is counted one by one."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from uuid import UUID

from qdrant_client import models

from gristmill.domain import identity
from gristmill.domain.batch import Aggregates, Batch, BatchStatusView, ErrorType, status_view
from gristmill.domain.failures import FailureCategory, is_permanent
from gristmill.domain.record import Record, RecordStatus
from gristmill.ports.batches import BatchPage, ErrorGroup, Progress, RecordPage
from gristmill.stores.cursors import cursor, key_of
from gristmill.stores.qdrant import batch_points, schema
from gristmill.stores.qdrant.batch_store import REMOVED, BatchStore, of_batch
from gristmill.stores.qdrant.points import Condition, Payload, any_of, equals, where, within
from gristmill.stores.qdrant.record_points import category_of, record_of
from gristmill.stores.qdrant.text_order import Listing
from gristmill.stores.qdrant.values import instant, moment_or_none

_MESSAGES = 10
_ROWS_READ = 50
_ERROR_TYPES = 5
_KEYS_READ = 100
_ENDED = ("completed", "failed", "cancelled")


class Views(BatchStore):
    async def get_batch(self, batch_id: UUID) -> Batch | None:
        found, outcomes = await asyncio.gather(self._batches([batch_id]), self._outcomes(batch_id))
        if batch_id not in found:
            return None
        return batch_points.counted(found[batch_id].batch, outcomes.counters.ended)

    async def list_batches(self, *, limit: int, after: str | None = None) -> BatchPage:
        start = None if after is None else key_of("batches", after, int, str)
        rows = await self._newest(start, limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        ended: dict[str, int] = {}
        if rows:
            chosen = where(any_of("batch_id", [row["batch_id"] for row in rows]), any_of("status", _ENDED))
            ended = await self._records.facet("batch_id", chosen)
        batches = [
            batch_points.counted(batch_points.stored_of(row).batch, ended.get(row["batch_id"], 0))
            for row in rows
        ]
        last = rows[-1] if rows else {}
        return BatchPage(
            batches, cursor("batches", last["created_at"], last["batch_id"]) if more and rows else None
        )

    async def _newest(self, start: "Sequence[int | str] | None", limit: int) -> list[Payload]:
        """Batches behind (created_at, batch_id), newest first, those of one instant by id."""
        found: list[Payload] = []
        conditions: list[Condition] = [equals("type", batch_points.BATCH)]
        older: list[Condition] = []
        if start is not None:
            created_at, batch_id = start
            same = await self._created_at(conditions, int(created_at))
            found = [row for row in same if row["batch_id"] > batch_id][:limit]
            older = [within("created_at", lt=int(created_at))]
        while (missing := limit - len(found)) > 0:
            chosen = where(*conditions, *older, without=[REMOVED])
            rows = await self._state.first(chosen, order="created_at", limit=missing + 1, descending=True)
            complete = (
                rows
                if len(rows) <= missing
                else [row for row in rows if row["created_at"] > rows[-1]["created_at"]]
            )
            found += sorted(complete, key=lambda row: (-row["created_at"], row["batch_id"]))
            if len(rows) <= missing:
                break
            oldest = rows[-1]["created_at"]
            found += await self._created_at(conditions, oldest)
            older = [within("created_at", lt=oldest)]
        return found[:limit]

    async def _created_at(self, conditions: list[Condition], created_at: int) -> list[Payload]:
        same = [*conditions, within("created_at", gte=created_at, lte=created_at)]
        return await self._state.by_id(where(*same, without=[REMOVED]))

    async def batch_status_view(self, batch_id: UUID) -> BatchStatusView:
        stored, outcomes, newest = await asyncio.gather(
            self._batch(batch_id), self._outcomes(batch_id), self._extremes(batch_id)
        )
        messages, types = await self._errors(batch_id, newest["with_error"])
        found = Aggregates(
            counters=outcomes.counters,
            permanent_failures=outcomes.permanent_failures(self._policy.max_attempts),
            max_retries=_one(newest["retries_total"], "retries_total") or 0,
            messages=messages,
            latest_error_at=moment_or_none(_one(newest["last_error_at"], "last_error_at")),
            first_started_at=moment_or_none(_one(newest["started_at"], "started_at")),
            last_ended_at=moment_or_none(_one(newest["ended_at"], "ended_at")),
            error_types=types,
        )
        return status_view(stored.batch, found, self._clock.now())

    async def _extremes(self, batch_id: UUID) -> dict[str, list[Payload]]:
        """The rows with the highest of each, with the first start, and with the newest errors, in one request."""
        chosen, latest = of_batch(batch_id), models.Direction.DESC

        def extreme(key: str, direction: models.Direction) -> models.QueryRequest:
            order = models.OrderByQuery(order_by=models.OrderBy(key=key, direction=direction))
            return models.QueryRequest(query=order, filter=chosen, limit=1, with_payload=[key])

        names = ("retries_total", "last_error_at", "ended_at", "started_at")
        requests = [
            *(extreme(name, latest) for name in names[:3]),
            extreme("started_at", models.Direction.ASC),
            models.QueryRequest(
                query=models.OrderByQuery(order_by=models.OrderBy(key="last_error_at", direction=latest)),
                filter=chosen,
                limit=_ROWS_READ,
                with_payload=["error_key", "error_message", "last_error_at"],
            ),
        ]
        answers = await self._records.query_each(requests)
        rows = [[each.payload or {} for each in answer] for answer in answers]
        return dict(zip((*names, "with_error"), rows, strict=True))

    async def _errors(self, batch_id: UUID, newest: list[Payload]) -> tuple[list[str], list[ErrorType]]:
        """Messages and error types; ``newest``: the rows with the newest errors, all if there are few."""
        rows = [row for row in newest if "error_key" in row]
        known = {row["error_key"]: row["error_message"] for row in rows}
        if len(newest) < _ROWS_READ:
            errors = dict(Counter(row["error_key"] for row in rows))
        else:
            errors = await self._records.facet("error_key", of_batch(batch_id), limit=_KEYS_READ)
        return await asyncio.gather(
            self._messages(batch_id, newest, unseen=errors.keys() - known.keys()),
            self._error_types(batch_id, errors, known),
        )

    async def _messages(
        self, batch_id: UUID, newest: list[Payload], *, unseen: AbstractSet[str]
    ) -> list[str]:
        """The newest distinct messages, newest first. ``unseen``: error keys of others, if there are any."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        while newest:
            with_key = [row for row in newest if "error_key" in row]
            for row in sorted(with_key, key=lambda row: (-row["last_error_at"], row["error_message"])):
                found.setdefault(row["error_message"])
                seen.add(row["error_key"])
            if len(found) >= _MESSAGES or not unseen - seen:
                break
            others = of_batch(batch_id, _has_error(), without=[any_of("error_key", seen)])
            newest = await self._records.first(
                others,
                order="last_error_at",
                limit=_ROWS_READ,
                descending=True,
                fields=["error_key", "error_message", "last_error_at"],
            )
        return list(found)[:_MESSAGES]

    async def _error_types(
        self, batch_id: UUID, errors: Mapping[str, int], known: Mapping[str, str]
    ) -> list[ErrorType]:
        """``errors``: how often each error key; ``known``: messages of some."""
        types = []
        for key, count in sorted(errors.items(), key=lambda each: (-each[1], each[0]))[:_ERROR_TYPES]:
            message = known.get(key)
            if message is None:
                chosen = of_batch(batch_id, equals("error_key", key))
                rows = await self._records.by_id(chosen, limit=1, fields=["error_message"])
                message = rows[0]["error_message"] if rows else None
            if message is not None:
                types.append(ErrorType(category_of(key), message, count))
        return sorted(types, key=lambda each: (-each.count, each.category, each.message))

    async def get_processing_progress(self, batch_id: UUID) -> Progress:
        stored, outcomes = await asyncio.gather(self._batch(batch_id), self._outcomes(batch_id))
        counters = outcomes.counters
        batch = batch_points.counted(stored.batch, counters.ended)
        total, now = max(batch.total_files, counters.total), self._clock.now()
        elapsed = ((batch.completed_at or now) - (batch.started_at or now)).total_seconds()
        rate = counters.ended / elapsed if elapsed > 0 else 0.0
        return Progress(
            batch=batch,
            counters=counters,
            percent=round(100 * counters.ended / total, 2) if total else 0.0,
            rate=rate,
            eta_seconds=counters.open / rate if rate else None,
            failures=outcomes.failures,
        )

    async def get_processing_results(
        self,
        batch_id: UUID,
        *,
        status: RecordStatus | None = None,
        category: FailureCategory | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        start, reference = None, ""
        if after is not None:
            start = key_of("records", after, str)[0]
            reference = (await self._batch(batch_id)).reference or ""
        chosen = [equals("batch_id", str(batch_id))]
        if status is not None:
            chosen.append(equals("status", status.value))
        if category is not None:
            chosen.append(equals("error_category", category.value))
        listing = Listing(self._records, reference, lambda row: str(row["item_id"]))
        rows = await listing.after(start, chosen, limit + 1)
        if not rows:
            await self._batch(batch_id)
        records = [record_of(row) for row in rows[:limit]]
        more = len(rows) > limit > 0
        return RecordPage(records, cursor("records", records[-1].item_id) if more else None)

    async def find_records(self, batch_id: UUID, item_ids: Sequence[str]) -> Mapping[str, Record]:
        await self._batch(batch_id)
        rows = await self._records.get({identity.record_id(batch_id, item_id) for item_id in item_ids})
        records = [record_of(row) for row in rows.values()]
        return {record.item_id: record for record in records}

    async def get_error_groups(self, batch_id: UUID) -> Sequence[ErrorGroup]:
        _, outcomes = await asyncio.gather(self._batch(batch_id), self._outcomes(batch_id))
        groups = [
            await self._error_group(batch_id, FailureCategory(category), count)
            for category, count in outcomes.failures.items()
        ]
        return sorted(groups, key=lambda group: (-group.count, group.category))

    async def _error_group(self, batch_id: UUID, category: FailureCategory, count: int) -> ErrorGroup:
        failed = (equals("status", "failed"), equals("error_category", category.value))
        newest = await self._records.first(
            of_batch(batch_id, *failed), order="last_error_at", limit=1, descending=True
        )
        at = newest[0]["last_error_at"]
        same = await self._records.by_id(
            of_batch(batch_id, *failed, within("last_error_at", gte=at, lte=at)),
            fields=["item_id", "error_message"],
        )
        example = max([*newest, *same], key=lambda row: str(row["item_id"]))
        return ErrorGroup(
            category=category,
            count=count,
            permanent=is_permanent(category),
            item_id=example["item_id"],
            example=example["error_message"],
        )

    async def _created_since(self, since: datetime) -> list[Payload]:
        created = within("created_at", gte=instant(since))
        found = await self._state.by_id(
            schema.of_type(batch_points.BATCH, created), fields=["status", "removed"]
        )
        return [each for each in found if "removed" not in each]


def _one(rows: list[Payload], key: str) -> int | None:
    return rows[0][key] if rows else None


def _has_error() -> Condition:
    return any_of("error_category", [each.value for each in FailureCategory])
