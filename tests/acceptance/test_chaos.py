"""Two real databases that are killed, frozen and brought back in turn, and a worker that is killed, while a batch runs."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gristmill import settings, wiring
from gristmill.domain.batch import NewBatch
from gristmill.domain.record import Item
from gristmill.engine.submit import submit
from tests.support import chaos
from tests.support.chaos import Hit, Outage, Team
from tests.support.chaos_worker import GROUP, KIND
from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_server import QdrantServer
from tests.support.shell import Shell

ITEMS = 2_000
LEAST_OUTAGES = 4
SEEDS = range(20 if os.environ.get("GRISTMILL_TEST_SOAK") else 2)
CALL_SECONDS, PROBE_SECONDS = 3, 2
# What a call in flight waits before it is found that nobody answers, and what is allowed beyond that.
TIMEOUT_SECONDS, BEYOND_SECONDS = CALL_SECONDS + PROBE_SECONDS, 5.0
ENDS_WITHIN = 120.0
# What may be completed without an acknowledgement: in hand of the worker that is killed, and of each one when an answer is lost.
UNHEARD = 10 * GROUP


@dataclass(frozen=True)
class Installation:
    postgresql: PostgresServer
    qdrant: QdrantServer
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "POSTGRESQL_URL": self.postgresql.url(),
            "QDRANT_URL": self.qdrant.url,
            "GRISTMILL_FAILOVER_TIMEOUT_SECONDS": str(CALL_SECONDS),
            "GRISTMILL_FAILOVER_PROBE_SECONDS": str(PROBE_SECONDS),
        }

    @property
    def shell(self) -> Shell:
        return Shell(self.folder / "home", **self.environment)

    async def submitted(self) -> UUID:
        # Settings of this call alone, as a process of its own would have them.
        flags = {"postgresql_url": self.postgresql.url(), "qdrant_url": self.qdrant.url}
        core = wiring.build(
            settings.load(home=self.folder / "home", embedder="wordllama", workers=1, **flags)
        )
        await core.open()
        try:
            batches, new = core.database.batches, NewBatch(batch_id=uuid4(), kind=KIND)
            await batches.create_batch(new)
            await submit(batches, new.batch_id, (Item(f"i{n:05}", KIND) for n in range(ITEMS)))
            return new.batch_id
        finally:
            await core.close()

    def strike(self, outage: Outage) -> Hit:
        servers = {"postgresql": self.postgresql, "qdrant": self.qdrant}
        return chaos.strike(servers[outage.server], outage)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    postgresql, qdrant = PostgresServer(durable=True), QdrantServer(tmp_path / "qdrant")
    try:
        postgresql.start()
        qdrant.start()
        yield Installation(postgresql, qdrant, tmp_path)
    finally:
        qdrant.stop()
        postgresql.remove()


@pytest.mark.alone
@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_ends_whole_whatever_happens_to_its_databases(installation: Installation, seed: int):
    batch_id = asyncio.run(installation.submitted())
    with chaos.team_of(installation.folder, installation.environment) as team:
        team.start(2)
        wait_for_items(team, 1)
        hits = strike_in_turn(installation, team, seed)
        team.hurry()
        wait_until_completed(installation, team, batch_id)
        check_pauses(team, hits)

    reconciled = installation.shell.run("stores", "reconcile", "--json")
    assert reconciled.code == 0, reconciled.stdout + reconciled.stderr
    verified = installation.shell.run("stores", "verify", "--json")
    assert verified.code == 0, verified.stdout + verified.stderr
    for alone in ("postgresql", "qdrant"):
        check_completed(installation, batch_id, alone)
    check_switches(installation, hits)


def strike_in_turn(installation: Installation, team: Team, seed: int) -> list[Hit]:
    """The outages; those that began while items were still to be done. A worker dies before the third."""
    hits = []
    for number, outage in enumerate(chaos.outages_of(seed, ("postgresql", "qdrant"))):
        time.sleep(outage.well_before)
        if number == 2:
            team.kill_one()
            team.start(1)
        if len(team.acknowledged()) < ITEMS:
            hits.append(installation.strike(outage))
    assert len(hits) >= LEAST_OUTAGES
    return hits


def wait_for_items(team: Team, count: int) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    while len(team.acknowledged()) < count:
        assert time.monotonic() < deadline, f"{len(team.acknowledged())} items: {team.said()[-4000:]}"
        time.sleep(0.1)


def wait_until_completed(installation: Installation, team: Team, batch_id: UUID) -> None:
    """Not all that is completed was acknowledged: a worker that was killed, or a database, took the answer along."""
    wait_for_items(team, ITEMS - UNHEARD)
    deadline = time.monotonic() + ENDS_WITHIN
    while (shown := installation.shell.run("batches", "show", str(batch_id), "--json").json)[
        "computed_status"
    ] != "completed":
        assert time.monotonic() < deadline, (shown, team.said()[-4000:])
        time.sleep(1.0)


def check_pauses(team: Team, hits: list[Hit]) -> None:
    acks = sorted(line.at for line in team.lines("ack"))
    for hit in hits:
        pause = chaos.longest_pause(acks, hit, until=min(hit.end, acks[-1]))
        assert pause <= TIMEOUT_SECONDS + BEYOND_SECONDS, (hit, pause)


def check_completed(installation: Installation, batch_id: UUID, alone: str) -> None:
    """One database holds every item as completed, those that were acknowledged among them, asked without the other."""
    chosen = {"ENABLE_FALLBACK_DATABASES": "false", "PREFERRED_DATABASE": alone}
    shell = Shell(installation.folder / "home", **installation.environment, **chosen)
    shown = shell.run("batches", "show", str(batch_id), "--json").json
    assert (shown["total_documents"], shown["completed_count"]) == (ITEMS, ITEMS), alone


def check_switches(installation: Installation, hits: list[Hit]) -> None:
    """Away and back again, no more often than there were outages."""
    status = json.loads(installation.shell.run("stores", "status", "--json").stdout)
    assert status["acting"]["term"] <= 1 + 2 * len(hits)
