"""The rows of the batch port: how they are read and written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from gristmill.domain import moves
from gristmill.domain.batch import Batch, Counters
from gristmill.domain.facts import BatchFacts, EndFact, batch_of
from gristmill.domain.hold import Hold
from gristmill.domain.identity import end_event_id
from gristmill.domain.record import Record, RecordStatus
from gristmill.domain.retry import RetryPolicy
from gristmill.domain.versions import WriteIds
from gristmill.ports.errors import BatchNotFoundError
from gristmill.stores.memory import summaries
from gristmill.stores.memory.tables import Tables


class BatchRows:
    def __init__(self, tables: Tables, *, retry_policy: RetryPolicy, write_ids: WriteIds) -> None:
        self._tables = tables
        self._clock = tables.clock
        self._policy = retry_policy
        self._write_ids = write_ids

    def _write(self) -> moves.Write:
        return moves.Write(now=self._clock.now(), write_id=self._write_ids.draw())

    # -- batches -------------------------------------------------------------------------------------

    def _here(self, batch_id: UUID) -> bool:
        facts = self._tables.batches.get(batch_id)
        return facts is not None and facts.deleted is None

    def _all_facts(self) -> list[BatchFacts]:
        return [facts for facts in self._tables.batches.values() if facts.deleted is None]

    def _facts(self, batch_id: UUID) -> BatchFacts:
        if not self._here(batch_id):
            raise BatchNotFoundError(batch_id)
        return self._tables.batches[batch_id]

    def _batch(self, batch_id: UUID) -> Batch:
        facts = self._facts(batch_id)
        end = self._end_of(facts)
        shown = None if end and end.event.event_id in self._tables.unconfirmed else end
        return batch_of(facts, shown, self._counters(batch_id))

    def _end_of(self, facts: BatchFacts) -> EndFact | None:
        end = self._tables.ends.get(end_event_id(facts.batch_id, facts.round))
        return end if end is not None and end.life == facts.life else None

    def _counters(self, batch_id: UUID) -> Counters:
        return summaries.counters(self._records(batch_id).values())

    def _change(self, batch_id: UUID, **changes: object) -> None:
        facts = self._facts(batch_id)
        changes["updated_at"] = max(facts.updated_at, self._clock.now())
        self._tables.keep(replace(facts, **changes))  # type: ignore[arg-type]

    def _hold(self, batch_id: UUID, hold: Hold) -> None:
        facts = self._facts(batch_id)
        if hold != facts.held.hold:
            write = self._write()
            version = facts.held.version.written(stamp=write.stamp, write_id=write.write_id)
            self._tables.keep(replace(facts, held=replace(facts.held, hold=hold, version=version)))

    # -- records -------------------------------------------------------------------------------------

    def _records(self, batch_id: UUID) -> dict[str, Record]:
        return self._tables.records.get(batch_id, {})

    def _all_records(self) -> Iterator[Record]:
        for records in self._tables.records.values():
            yield from records.values()

    def _stored(self, record: Record) -> Record | None:
        return self._records(record.batch_id).get(record.item_id)

    def _put(self, records: Iterable[Record]) -> list[Record]:
        """Store all of the records or, when making one of them raises, none."""
        made = list(records)
        for record in made:
            self._tables.keep(record)
        return made

    def _put_held(self, records: Sequence[Record], move: Callable[[Record], Record]) -> list[Record]:
        """Move those of the records that their claim still holds, each once."""
        moved = []
        for record in records:
            held = self._stored(record)
            if held is not None and held.status is RecordStatus.PROCESSING and held.claim == record.claim:
                moved += self._put([move(held)])
        return moved
