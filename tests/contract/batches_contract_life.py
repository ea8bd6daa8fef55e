"""Long random lives: every step answers as in memory; the counters add up, versions grow, and all that is stored agrees.

The last three are looked at after every step in ``make soak``, and now and then in ``make test``.
"""

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Outcome, Record, Report, Result, Retry, Snooze
from gristmill.domain.versions import Version
from gristmill.ports.database import Database
from gristmill.stores.memory import MemoryDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock

LIVES = range(4)
STEPS = 100
LOOK_EVERY = 1 if os.environ.get("GRISTMILL_TEST_SOAK") else 4
MOST_BATCHES = 4
WEIGHTS = {
    "submit": 4,
    "add": 3,
    "claim": 9,
    "report": 9,
    "stage": 4,
    "release": 2,
    "take_back": 2,
    "retry": 5,
    "cancel": 1,
    "seal": 2,
    "end": 3,
    "renew": 1,
}
Found = dict[UUID, steps.Shown]
CATEGORIES = [FailureCategory.TIMEOUT, FailureCategory.ENCRYPTED, FailureCategory.PROVIDER_RATE]


class LifeContract:
    @pytest.mark.parametrize("seed", LIVES)
    async def test_every_step_of_a_random_life_is_legal_and_as_in_memory(
        self, database: Database, clock: ManualClock, seed: int
    ):
        model = MemoryDatabase(clock)
        life, twin = _Life(database, random.Random(seed)), _Life(model, random.Random(seed))
        seen: dict[UUID, Version] = {}
        write_ids: set[str] = set()
        pace = random.Random(seed)
        for n in range(1, STEPS + 1):
            clock.advance(pace.choice([0.000_001, 1.5, 40]))
            step = life.choose()
            assert step is twin.choose()
            assert await step(life) == await step(twin)
            if n % LOOK_EVERY == 0:
                found, expected = await steps.check_all(database), await steps.check_all(model)
                _check_versions(found, seen, write_ids)
                assert await _picture(database, found) == await _picture(model, expected)


def _check_versions(found: Found, seen: dict[UUID, Version], write_ids: set[str]) -> None:
    for record in (record for each in found.values() for record in each.records):
        before = seen.get(record.record_id)
        if record.version == before:
            continue
        assert before is None or record.version > before
        assert record.version.write_id not in write_ids
        write_ids.add(record.version.write_id)
        seen[record.record_id] = record.version


async def _picture(database: Database, found: Found) -> list[Any]:
    """All that can be seen of a database, but for what is random or left open."""
    picture: list[Any] = []
    for _, each in sorted(found.items()):
        picture += [
            replace(each.batch, updated_at=each.batch.created_at),
            replace(each.view, error_messages="\n".join(sorted(each.view.error_messages.split("\n")))),
            (each.progress.counters, each.progress.failures),
            [_without_ids(record) for record in each.records],
        ]
    return [*picture, await database.batches.next_due(), await _workers(database)]


def _without_ids(record: Record) -> Record:
    """The record without what every database draws for itself."""
    version = replace(record.version, revision=0, stamp=0, write_id="")
    return replace(record, claim_id=record.claim_id and "claimed", version=version)


async def _workers(database: Database) -> list[str]:
    return sorted(worker.worker_id for worker in await database.batches.list_workers())


@dataclass
class _Life:
    """Takes random steps in one database; with equal random states, two lives take the same steps."""

    database: Database
    random: random.Random
    batch_ids: list[UUID] = field(default_factory=list)
    claimed: list[Record] = field(default_factory=list)
    _plan: dict[str, Any] = field(default_factory=dict)

    def choose(self) -> Callable[["_Life"], Awaitable[Any]]:
        """Draw the next step and all that it needs."""
        (choice,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if choice == "submit" and len(self.batch_ids) >= MOST_BATCHES:
            choice = "claim"
        if not self.batch_ids:
            choice = "submit"
        self._plan = {
            "batch_id": self.random.choice(self.batch_ids) if self.batch_ids else None,
            "new_id": UUID(int=self.random.getrandbits(128), version=4),
            "number": self.random.randrange(1, 6),
            "worker": self.random.choice(["w1", "w2", "w3"]),
            "positions": [self.random.random() for _ in range(4)],
            "outcomes": [self._outcome() for _ in range(4)],
            "kinds": self.random.choice([None, ["documents"], ["prices"]]),
            "permanent": self.random.random() < 0.5,
        }
        return getattr(_Life, f"_{choice}")

    def _outcome(self) -> Outcome:
        failure = Failure(self.random.choice(CATEGORIES), self.random.choice(["One.", "Two.", "Три."]))
        done = Done(Result(chunks=self.random.randrange(9)))
        return self.random.choice(
            [done, Retry(failure), Retry(failure), Failed(failure), Snooze(20, failure)]
        )

    def _chosen(self) -> list[Record]:
        """Some of the records claimed so far: held, lost and reported ones, and maybe one of them twice."""
        if not self.claimed:
            return []
        recent = self.claimed[-16:]
        return [recent[int(position * len(recent))] for position in self._plan["positions"]]

    async def _submit(self) -> None:
        new = builders.new_batch(self._plan["new_id"], priority=self._plan["number"] - 3)
        self.batch_ids.append((await self.database.batches.create_batch(new)).batch_id)
        await self._items(new.batch_id)

    async def _add(self) -> Any:
        batch = await self.database.batches.get_batch(self._plan["batch_id"])
        assert batch is not None
        return None if batch.sealed_at else await self._items(batch.batch_id)

    async def _items(self, batch_id: UUID) -> Any:
        count = self._plan["number"]
        kind = "prices" if count == 2 else "documents"
        items = builders.items(*(f"{count}-{number}" for number in range(3 * count)), kind=kind)
        return await self.database.batches.create_processing_records(batch_id, items)

    async def _claim(self) -> Any:
        claimed = await self.database.batches.claim_records(
            self._plan["worker"], limit=self._plan["number"], kinds=self._plan["kinds"]
        )
        self.claimed += claimed
        return [_without_ids(record) for record in claimed]

    async def _report(self) -> Any:
        pairs = zip(self._chosen(), self._plan["outcomes"], strict=False)
        reports = [Report(record, outcome) for record, outcome in pairs]
        refusals = await self.database.batches.update_processing_status(reports)
        return [(refusal.met and _without_ids(refusal.met)) for refusal in refusals]

    async def _stage(self) -> Any:
        number = self._plan["number"]
        return _as_set(
            await self.database.batches.record_stages(
                self._once(), stage=["extracting", "embedding"][number % 2], progress=number
            )
        )

    def _once(self) -> list[Record]:
        return list({id(record): record for record in self._chosen()}.values())

    async def _release(self) -> Any:
        return await self.database.batches.release_records(self._once())

    async def _renew(self) -> Any:
        worker = builders.worker(self._plan["worker"], builders.START)
        return await self.database.batches.renew_lease(worker)

    async def _take_back(self) -> Any:
        if self._plan["number"] > 2:
            return None
        taken = await self.database.batches.take_back(self._plan["worker"], renewed_at=builders.START)
        return _as_set(taken)

    async def _retry(self) -> Any:
        return await self.database.batches.retry_failed(
            self._plan["batch_id"],
            categories=None if self._plan["number"] > 2 else CATEGORIES[:1],
            permanent=self._plan["permanent"],
        )

    async def _cancel(self) -> Any:
        if self._plan["number"] > 2:
            return None
        reason = "Too many failed." if self._plan["permanent"] else None
        return await self.database.batches.cancel_batch(self._plan["batch_id"], error_message=reason)

    async def _seal(self) -> Any:
        return (await self.database.batches.seal_batch(self._plan["batch_id"])).total_files

    async def _end(self) -> Any:
        return {batch.batch_id for batch in await self.database.batches.end_batches()}


def _as_set(records: Sequence[Record]) -> dict[UUID, Record]:
    return {record.record_id: _without_ids(record) for record in records}
