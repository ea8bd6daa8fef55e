"""One history: two databases, three processes, and everything that can go wrong, from one seed."""

import asyncio
from dataclasses import fields
from datetime import timedelta
from random import Random
from unittest.mock import patch
from uuid import UUID

from structlog.testing import capture_logs

from gristmill.domain.batch import missing_records
from gristmill.domain.record import Done, Record, Report
from gristmill.domain.retry import RetryPolicy
from gristmill.ports.rows import Row, merged, row_of
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.memory.tables import Tables
from tests.support import builders
from tests.support.simulated_ledger import ENDED, Ledger
from tests.support.simulated_line import Server
from tests.support.simulated_process import SimulatedProcess
from tests.support.virtual_time import VirtualClock, VirtualLoop

POLICY = RetryPolicy(first_delay_seconds=0.2, factor=2.0, snooze_seconds=0.5)
SECONDS = 8
HEALED_SECONDS = 90


class Simulation:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ledger = Ledger()
        self.servers = [Server("one"), Server("two")]
        self.batches = [self._uuid() for _ in range(3)]
        self.processes: list[SimulatedProcess] = []
        self.faults: list[str] = []
        self._started = 0

    def _uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def run(self) -> None:
        """Raises AssertionError with what went wrong before it."""
        memory = "gristmill.stores.memory"
        with (
            patch(f"{memory}.batches.uuid4", self._uuid),
            patch(f"{memory}.tables.uuid4", self._uuid),
            asyncio.Runner(loop_factory=VirtualLoop) as runner,
            capture_logs(),
        ):
            runner.run(self._history())

    async def _history(self) -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        self.databases = [
            MemoryDatabase(clock, retry_policy=POLICY, name=server.name, writer=server.name)
            for server in self.servers
        ]
        for database in self.databases:
            database.tables.__class__ = WatchedTables
        self.snapshots = [copied(database.tables) for database in self.databases]
        for _ in range(3):
            self._start_process()
        self._victim = self.random.randrange(2)  # Only one of them may ever lose what it held.
        await self._trouble()
        await self._heal()

    def _start_process(self) -> None:
        self._started += 1
        process = SimulatedProcess(
            f"p{self._started}", self.databases, self.servers, self.batches, self.ledger, self.random
        )
        self.processes.append(process)
        process.start()

    # -- trouble -------------------------------------------------------------------------------------

    async def _trouble(self) -> None:
        loop = asyncio.get_running_loop()
        pending: set[asyncio.Task] = set()
        while loop.time() < SECONDS:
            await asyncio.sleep(self.random.choice([0.3, 1, 3]))
            self.snapshots = [
                copied(database.tables) if self.random.random() < 0.3 else snapshot
                for database, snapshot in zip(self.databases, self.snapshots, strict=True)
            ]
            pending.add(asyncio.create_task(self._fault()))
        await asyncio.gather(*pending)

    async def _fault(self) -> None:
        name = self.random.choice(
            [
                "outage",
                "outage",
                "hang",
                "full",
                "cut",
                "cut",
                "lose",
                "freeze",
                "crash",
                "skew",
                "return",
                "flap",
            ]
        )
        lasts = self.random.choice([0.5, 2, 6, 10])
        self.faults.append(f"{asyncio.get_running_loop().time():.1f} {name} {lasts}")
        await getattr(self, f"_{name}")(lasts)

    async def _outage(self, lasts: float) -> None:
        server = self.random.choice(self.servers)
        server.down = True
        await asyncio.sleep(lasts)
        server.down = False

    async def _flap(self, lasts: float) -> None:
        server = self.random.choice(self.servers)
        for _ in range(3):
            server.down = True
            await asyncio.sleep(lasts / 10)
            server.down = False
            await asyncio.sleep(lasts / 5)

    async def _hang(self, lasts: float) -> None:
        server = self.random.choice(self.servers)
        server.hangs = True
        await asyncio.sleep(lasts)
        server.hangs = False

    async def _full(self, lasts: float) -> None:
        server = self.random.choice(self.servers)
        server.refuses_writes = True
        await asyncio.sleep(lasts)
        server.refuses_writes = False

    async def _cut(self, lasts: float) -> None:
        """One process from one database only."""
        line = self.random.choice(self.random.choice(self.processes).lines)
        line.cut = True
        await asyncio.sleep(lasts)
        line.cut = False

    async def _lose(self, lasts: float) -> None:
        line = self.random.choice(self.random.choice(self.processes).lines)
        line.loses = self.random.choice([0.1, 0.5])
        await asyncio.sleep(lasts)
        line.loses = 0.0

    async def _freeze(self, lasts: float) -> None:
        process = self.random.choice(self.processes)
        process.runs.going.clear()
        await asyncio.sleep(lasts)
        process.runs.going.set()

    async def _crash(self, lasts: float) -> None:
        process = self.random.choice(self.processes)
        self.processes.remove(process)
        self._start_process()
        process.runs.going.set()
        await process.crash()

    async def _skew(self, lasts: float) -> None:
        self.random.choice(self.processes).clock.skew = self.random.choice([-60, 60, 5])

    async def _return(self, lasts: float) -> None:
        """A database dies and comes back empty, or as it was some time ago."""
        server, database = self.servers[self._victim], self.databases[self._victim]
        server.down = True
        await asyncio.sleep(lasts / 2)
        self.ledger.lost_at.append(asyncio.get_running_loop().time())
        empty = self.random.random() < 0.4
        older = Tables(database.tables.clock) if empty else copied(self.snapshots[self._victim])
        vars(database.tables).update(vars(older))
        await asyncio.sleep(lasts / 2)
        server.down = False

    # -- the end -------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        for server in self.servers:
            server.down = server.hangs = server.refuses_writes = False
        for process in self.processes:
            for line in process.lines:
                line.cut, line.hangs, line.loses = False, False, 0.0
            process.runs.going.set()
        for process in self.processes:
            process.stopping = True
        await asyncio.gather(*(process.finished() for process in self.processes))
        await self._come_together()
        await self._finish_all_work()
        await self._come_together()
        self._check_told()
        for process in self.processes:
            await process.database.close()

    async def _come_together(self) -> None:
        for _ in range(HEALED_SECONDS):
            if self._are_together():
                break
            await asyncio.sleep(1)
        self._check_together()

    def _are_together(self) -> bool:
        one, two = (database.tables for database in self.databases)
        follows = all(process.database.status().acting.database == "one" for process in self.processes)
        done = one.acting == two.acting and one.acting.missing is None
        return follows and done and not one.marks and not two.marks and not self._problems()

    def _problems(self) -> set[str | None]:
        """What any process believes to be wrong with a database."""
        sides = (side for process in self.processes for side in process.database.status().databases)
        return {side.problem for side in sides} - {None}

    def _check_together(self) -> None:
        """Both hold the same, owe nothing, and what was acknowledged is there."""
        one, two = (database.tables for database in self.databases)
        for database in self.databases:
            assert not database.tables.marks, (database.name, list(database.tables.marks)[:3])
        assert held(one) == held(two)
        for tables in (one, two):
            assert self.ledger.broken(tables) == []
        assert {process.database.status().acting.database for process in self.processes} == {"one"}
        assert one.acting == two.acting
        assert one.acting.missing is None
        assert not self._problems()

    async def _finish_all_work(self) -> None:
        process = self.processes[0]
        batches = process.database.batches
        for _ in range(40):
            for number in range(1, self._started + 1):  # What begins again takes back what bears its id (C2).
                await batches.take_back(f"p{number}", renewed_at=process.clock.now() + timedelta(days=1))
            for batch in (await batches.list_batches(limit=9)).batches:
                await batches.seal_batch(batch.batch_id)
            while claimed := await batches.claim_records("last", limit=50):
                await process.report([process_report(record) for record in claimed])
            await batches.end_batches()
            await self._let_bereft_batches_end(batches)
            if all(batch.ended for batch in (await batches.list_batches(limit=9)).batches):
                break
            await asyncio.sleep(1)
        await process.tell()
        await process.database.reconcile()
        for database in self.databases:
            # An end that its last own write made good is shown by its next sweep, when it serves again.
            await database.batches.end_batches()
            for batch in (await database.batches.list_batches(limit=9)).batches:
                counters = (await database.batches.get_processing_progress(batch.batch_id)).counters
                assert batch.ended, (database.name, batch)
                assert counters.open == 0
                assert counters.ended == batch.processed_files >= batch.total_files

    async def _let_bereft_batches_end(self, batches) -> None:
        """Each way out of a batch that lacks declared records, which only a loss can have taken."""
        for batch in (await batches.list_batches(limit=9)).batches:
            total = (await batches.get_processing_progress(batch.batch_id)).counters.total
            missing = missing_records(batch, total)
            if not missing:
                continue
            assert self.ledger.lost_at, "records were lost, and no database was"
            match self.random.choice(["submit", "seal", "cancel"]):
                case "submit":
                    again = [f"again-{n}" for n in range(missing)]
                    await batches.create_processing_records(batch.batch_id, builders.items(*again))
                case "seal":
                    await batches.seal_batch(batch.batch_id, anew=True)
                case "cancel":
                    await batches.cancel_batch(batch.batch_id)

    def _check_told(self) -> None:
        """Listeners heard of every round that ended, under one id."""
        ids: dict[tuple[UUID, int], set[UUID]] = {}
        for event_id, batch_id, round_ in self.ledger.told:
            ids.setdefault((batch_id, round_), set()).add(event_id)
        assert all(len(each) == 1 for each in ids.values())
        for facts in self.databases[0].tables.batches.values():
            assert (facts.batch_id, facts.round) in ids


def process_report(record: Record):
    return Report(record, Done())


def held(tables: Tables) -> dict:
    rows = {}
    for body in tables.all_rows():
        row = row_of(body)
        rows[row.kind, row.key] = row.token
    return rows


def copied(tables: Tables) -> Tables:
    """The tables as they are now, for later."""
    copy = type(tables)(tables.clock)
    for field in fields(tables):
        value = getattr(tables, field.name)
        if field.name in {"chunks", "records"}:
            value = {key: dict(inner) for key, inner in value.items()}
        elif isinstance(value, dict | set):
            value = value.copy()
        setattr(copy, field.name, value)
    return copy


class WatchedTables(Tables):
    """Checks every change of a row as it is written, by an operation or by a merge."""

    def put(self, body) -> Row:
        before = self.stored(body)
        if before is not None:
            after = merged(before, body)
            same = after is body or row_of(after).token == row_of(body).token
            assert same, "a merge would undo this write"
        if before is not None and isinstance(body, Record):
            check_change(before, body)
        return super().put(body)


def check_change(before: Record, after: Record) -> None:
    """Invariant 3: no state goes backwards, and attempts never exceed the cap."""
    assert after.version > before.version
    assert after.attempts <= POLICY.max_attempts
    if after.round == before.round and before.status in ENDED:
        assert ENDED.get(after.status, 0) >= ENDED[before.status]
    assert (after.version.ending > 0) == (after.status in ENDED)
