"""Figures over many batches. Only the mean needs more than counts: two times of each completed record are read."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from qdrant_client import models

from gristmill.domain.record import RecordStatus
from gristmill.ports.batches import Statistics
from gristmill.stores.qdrant.points import equals, where, within
from gristmill.stores.qdrant.record_points import Outcomes
from gristmill.stores.qdrant.values import instant
from gristmill.stores.qdrant.views import Views

_MICROSECONDS = 1_000_000


class Figures(Views):
    async def get_processing_statistics(self, since: datetime) -> Statistics:
        of_these = within("batch_created_at", gte=instant(since))
        batches, counts, first, last, mean = await asyncio.gather(
            self._created_since(since),
            self._records.facet("outcome", where(of_these)),
            self._records.first(where(of_these), order="started_at", limit=1, fields=["started_at"]),
            self._records.first(
                where(of_these), order="ended_at", limit=1, descending=True, fields=["ended_at"]
            ),
            self._mean_seconds(where(of_these, equals("status", RecordStatus.COMPLETED.value))),
        )
        outcomes = Outcomes(counts)
        found = outcomes.counters
        tried = found.completed + found.failed
        took = last[0]["ended_at"] - first[0]["started_at"] if first and last else 0
        return Statistics(
            since=since,
            batches=len(batches),
            batches_by_status=dict(Counter(each["status"] for each in batches)),
            items=found.total,
            completed=found.completed,
            failed=found.failed,
            cancelled=found.cancelled,
            success_rate_percentage=round(100 * found.completed / tried, 2) if tried else 0.0,
            mean_seconds=mean,
            items_per_hour=found.ended / (took / _MICROSECONDS / 3600) if took > 0 else None,
            failures=outcomes.failures,
        )

    async def _mean_seconds(self, completed: models.Filter) -> float | None:
        total, count = 0, 0
        async for page in self._records.pages(completed, fields=["started_at", "ended_at"]):
            timed: Sequence[dict[str, int]] = [each for each in page if "started_at" in each]
            total += sum(each["ended_at"] - each["started_at"] for each in timed)
            count += len(timed)
        return total / count / _MICROSECONDS if count else None
