"""The documented flow over PostgreSQL and Qdrant, in both orders, while the one that serves is cut off or hangs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from gristmill import DatabaseFallbackManager, fallback, get_fallback_manager
from gristmill.domain.batch import Counters
from gristmill.domain.identity import BadItemIdError
from gristmill.ports.errors import AllStoresUnavailableError, BatchNotFoundError, ItemNotFoundError
from gristmill.ports.failover import FailoverStatus
from gristmill.stores.failover import FailoverDatabase
from tests.support.fallback_flow import flow
from tests.support.postgres_databases import PostgresHost
from tests.support.server_pairs import ORDERS, Servers, proxied_servers
from tests.support.tcp_proxy import TcpProxy

PROBE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Documented:
    """The manager as users get it, and the lines to its databases."""

    manager: DatabaseFallbackManager
    acting: TcpProxy
    standby: TcpProxy

    def status(self) -> FailoverStatus:
        database = self.manager._core.database
        assert isinstance(database, FailoverDatabase)
        return database.status()


@pytest.fixture(params=ORDERS, ids="-".join)
async def documented(
    request: pytest.FixtureRequest, postgres: PostgresHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Documented]:
    acting, standby = request.param
    monkeypatch.setattr(fallback, "_managers", [])
    async with proxied_servers(postgres) as servers:
        for name, value in _environment(servers, acting, tmp_path).items():
            monkeypatch.setenv(name, value)
        async with get_fallback_manager() as manager:
            yield Documented(manager, servers.proxies[acting], servers.proxies[standby])
        assert manager is get_fallback_manager()


def _environment(servers: Servers, preferred: str, home: Path) -> dict[str, str]:
    key = servers.qdrant.api_key
    return {
        "POSTGRESQL_URL": servers.postgresql.url.render_as_string(hide_password=False),
        "QDRANT_URL": servers.qdrant.url,
        "QDRANT_API_KEY": "" if key is None else key.get_secret_value(),
        "PREFERRED_DATABASE": preferred,
        "GRISTMILL_QDRANT_PREFIX": servers.qdrant.prefix,
        "GRISTMILL_FAILOVER_PROBE_SECONDS": str(PROBE_SECONDS),
        "GRISTMILL_HOME": str(home),
    }


async def _whole(documented: Documented) -> None:
    """Both are there and hold the same, by the background work alone."""
    for _ in range(200):
        if not any(each.problem or each.lacks for each in documented.status().databases):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"still apart: {documented.status()}")


async def test_flow_with_both_and_on_when_the_acting_one_is_cut_off_and_back_again(documented: Documented):
    manager, batch_id = documented.manager, uuid4()
    await flow(manager)
    await manager.create_processing_records(batch_id, ["a", "b"])
    await manager.update_processing_status(batch_id, "a", "completed")
    first = documented.status().acting
    documented.acting.cut()
    await flow(manager, items_before=5)
    assert documented.status().acting.database != first.database
    progress = await manager.get_processing_progress(batch_id)
    assert progress.counters == Counters(pending=1, completed=1)
    await manager.update_processing_status(batch_id, "b", "failed", "It would not open.")
    await documented.acting.restore()
    await _whole(documented)
    documented.standby.cut()
    progress = await manager.get_processing_progress(batch_id)
    assert progress.counters == Counters(completed=1, failed=1)
    assert documented.status().acting.database == first.database


async def test_flow_when_the_acting_one_hangs(documented: Documented):
    documented.acting.hang()
    async with asyncio.timeout(10 * PROBE_SECONDS):
        await flow(documented.manager)
    assert [each.problem is None for each in documented.status().databases] == [False, True]
    await documented.acting.restore()


async def test_what_is_wrong_with_an_item_raises_and_switches_nothing(documented: Documented):
    manager, batch_id = documented.manager, uuid4()
    await manager.create_processing_records(batch_id, ["a"])
    for cut in (False, True):
        if cut:
            documented.acting.cut()
            await manager.get_processing_progress(batch_id)
        before = documented.status().acting
        for bad in (None, 7, b"a", ""):
            with pytest.raises(BadItemIdError):
                await manager.create_processing_records(batch_id, ["b", bad])
            with pytest.raises(BadItemIdError):
                await manager.update_processing_status(batch_id, bad, "completed")
        with pytest.raises(ItemNotFoundError):
            await manager.update_processing_status(batch_id, "nobody", "completed")
        with pytest.raises(BatchNotFoundError):
            await manager.update_processing_status(uuid4(), "a", "completed")
        assert documented.status().acting == before
        assert (await manager.get_processing_progress(batch_id)).counters == Counters(pending=1)


async def test_both_cut_off_is_an_error_and_never_an_empty_answer(documented: Documented):
    documented.acting.cut()
    documented.standby.cut()
    for call in (
        documented.manager.get_processing_progress(uuid4()),
        documented.manager.get_processing_results(uuid4()),
        documented.manager.get_processing_statistics(),
        documented.manager.create_processing_records(uuid4(), ["a"]),
    ):
        with pytest.raises(AllStoresUnavailableError) as caught:
            await call
        assert set(caught.value.reasons) == {"postgresql", "qdrant"}
        assert caught.value.retry_after_seconds >= 1
