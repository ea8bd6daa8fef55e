"""The rows of the batch port: dicts, and how they are read and written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from gristmill.domain import moves
from gristmill.domain.batch import Batch
from gristmill.domain.events import BatchEnded
from gristmill.domain.record import Record, RecordStatus
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.batches import Worker
from gristmill.ports.clock import Clock
from gristmill.ports.errors import BatchNotFoundError
from gristmill.stores.memory import summaries


class BatchRows:
    def __init__(self, clock: Clock, *, retry_policy: RetryPolicy, write_ids: WriteIds) -> None:
        self._clock = clock
        self._policy = retry_policy
        self._write_ids = write_ids
        self._batches: dict[UUID, Batch] = {}
        self._records: dict[UUID, dict[str, Record]] = {}
        self._workers: dict[str, Worker] = {}
        self._events: dict[UUID, BatchEnded] = {}
        self._delivered: set[UUID] = set()

    def _write(self) -> moves.Write:
        return moves.Write(now=self._clock.now(), write_id=self._write_ids.draw())

    def _batch(self, batch_id: UUID) -> Batch:
        if batch_id not in self._batches:
            raise BatchNotFoundError(batch_id)
        ended = summaries.counters(self._records[batch_id].values()).ended
        return replace(self._batches[batch_id], processed_files=ended)

    def _change(self, batch: Batch, **changes: object) -> None:
        changes["updated_at"] = self._clock.now()
        self._batches[batch.batch_id] = replace(batch, **changes)  # type: ignore[arg-type]

    def _all_records(self) -> Iterator[Record]:
        for records in self._records.values():
            yield from records.values()

    def _stored(self, record: Record) -> Record | None:
        return self._records.get(record.batch_id, {}).get(record.item_id)

    def _put(self, records: Iterable[Record]) -> list[Record]:
        """Store all of the records or, when making one of them raises, none."""
        made = list(records)
        for record in made:
            self._records[record.batch_id][record.item_id] = record
        return made

    def _put_held(self, records: Sequence[Record], move: Callable[[Record], Record]) -> list[Record]:
        """Move those of the records that their claim still holds, each once."""
        moved = []
        for record in records:
            held = self._stored(record)
            if held is not None and held.status is RecordStatus.PROCESSING and held.claim == record.claim:
                moved += self._put([move(held)])
        return moved
