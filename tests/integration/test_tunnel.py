"""PostgreSQL through an SSH server: it works, comes back by itself, and says what is wrong when it cannot."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gristmill.ports.clock import SystemClock
from gristmill.ports.errors import AccessDeniedError, ConfigurationError, StoreUnavailableError
from gristmill.stores.sql import tunnel as tunnels
from gristmill.stores.sql.postgres import server_of
from gristmill.stores.sql.postgres_database import PostgresDatabase
from gristmill.stores.sql.postgres_opening import revision
from gristmill.stores.sql.ssh import SshOptions
from tests.contract import batches_contract_steps as steps
from tests.support.postgres_databases import PostgresHost
from tests.support.postgres_server import PostgresServer
from tests.support.ssh_server import DATABASE_HOST, USER, SshServer, new_key
from tests.support.tls_server import tls_server

TIMEOUT_SECONDS = 2.0
BACK_WITHIN_SECONDS = 5.0


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    server = SshServer(tmp_path / "ssh").start()
    yield server
    server.stop()


@pytest.fixture
def name(postgres: PostgresHost) -> Iterator[str]:
    with postgres.migrated() as name:
        yield name


@pytest.fixture
def url(postgres: PostgresHost, name: str) -> str:
    """As the SSH server sees it: here nobody knows that host."""
    return postgres.server(name).url.set(host=DATABASE_HOST).render_as_string(hide_password=False)


def options_of(ssh: SshServer) -> SshOptions:
    return SshOptions(
        ssh.host,
        port=ssh.port,
        user=USER,
        key=ssh.key,
        known_hosts=ssh.known_hosts,
        connect_seconds=TIMEOUT_SECONDS,
        silent_seconds=TIMEOUT_SECONDS,
    )


@asynccontextmanager
async def opened(url: str, options: SshOptions, folder: Path) -> AsyncIterator[PostgresDatabase]:
    server = server_of(url, timeout_seconds=TIMEOUT_SECONDS, ssh=options)
    database = PostgresDatabase(server, clock=SystemClock(), folder=folder)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(url: str, ssh: SshServer, tmp_path: Path) -> AsyncIterator[PostgresDatabase]:
    async with opened(url, options_of(ssh), tmp_path) as database:
        yield database


async def wait_until_it_serves(database: PostgresDatabase) -> None:
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while True:
        try:
            await database.batches.list_batches(limit=1)
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


async def test_it_serves_and_says_so(database: PostgresDatabase, ssh: SshServer):
    before = datetime.now(UTC)
    batch_id = await steps.submit(database, "a", "b")
    assert (await steps.counters(database, batch_id)).pending == 2
    health = await database.check()
    assert health.ok
    assert health.tunnel is not None
    assert health.tunnel.up
    assert health.tunnel.since is not None
    assert health.tunnel.since <= datetime.now(UTC)
    assert abs((health.tunnel.since - before).total_seconds()) < 60
    assert health.tunnel.through == f"SSH server {USER}@127.0.0.1:{ssh.port}"
    assert "through SSH server" in health.details["server"]


@pytest.mark.parametrize(
    ("certified", "said"), [("database.internal", "closed"), ("127.0.0.1", "match host")]
)
async def test_a_certificate_is_checked_against_the_host_of_the_url(
    url: str, ssh: SshServer, tmp_path: Path, certified: str, said: str
):
    async with tls_server(tmp_path, certified) as (port, certificate):
        tls = make_url(url).set(port=port)
        tls = tls.update_query_dict({"sslmode": "verify-full", "sslrootcert": str(certificate)})
        server = server_of(
            tls.render_as_string(hide_password=False), timeout_seconds=TIMEOUT_SECONDS, ssh=options_of(ssh)
        )
        try:
            with pytest.raises((ConfigurationError, StoreUnavailableError), match=said):
                await asyncio.to_thread(revision, server)
        finally:
            assert server.tunnel is not None
            await asyncio.to_thread(server.tunnel.close)


async def test_a_cancelled_call_stops_its_statement_through_it_too(database: PostgresDatabase):
    call = asyncio.create_task(
        database._connections.run_write(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(60)"))
    )
    await asyncio.sleep(0.3)
    started = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("end", [SshServer.kill, SshServer.stop])
async def test_an_ssh_server_that_goes_is_an_outage_and_is_found_again(
    database: PostgresDatabase, ssh: SshServer, end: Callable[[SshServer], None]
):
    batch_id = await steps.submit(database, "a")
    end(ssh)
    with pytest.raises(StoreUnavailableError):
        await database.batches.seal_batch(batch_id)
    health = await database.check()
    assert not health.ok
    assert "SSH server" in str(health.problem)
    assert health.tunnel is not None
    assert not health.tunnel.up
    assert "Connect" in str(health.tunnel.problem)
    ssh.start()
    await wait_until_it_serves(database)
    assert (await database.batches.seal_batch(batch_id)).total_files == 1
    health = await database.check()
    assert health.tunnel is not None
    assert health.tunnel.up
    assert health.tunnel.problem is None


async def test_it_comes_back_while_nobody_asks(database: PostgresDatabase, ssh: SshServer):
    tunnel = database._server.tunnel
    assert tunnel is not None
    opened = tunnel.state.since
    ssh.restart()
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while not tunnel.state.up or tunnel.state.since == opened:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_an_ssh_server_that_freezes_is_given_up_in_time(database: PostgresDatabase, ssh: SshServer):
    batch_id = await steps.submit(database, "a")
    ssh.freeze()
    try:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await database.batches.seal_batch(batch_id)
            assert time.monotonic() - started < 3 * TIMEOUT_SECONDS
        started = time.monotonic()
        await database.close()
        assert time.monotonic() - started < TIMEOUT_SECONDS
    finally:
        ssh.thaw()


async def test_an_ssh_server_that_thaws_serves_again(database: PostgresDatabase, ssh: SshServer):
    ssh.freeze()
    await asyncio.sleep(1.5 * TIMEOUT_SECONDS)
    health = await database.check()
    assert not health.ok
    ssh.thaw()
    await wait_until_it_serves(database)


async def test_the_database_behind_it_goes_and_is_found_again(ssh: SshServer, tmp_path: Path):
    server = PostgresServer(durable=True)
    server.start()
    try:
        url = make_url(server.url()).set(host=DATABASE_HOST).render_as_string(hide_password=False)
        async with opened(url, options_of(ssh), tmp_path) as database:
            batch_id = await steps.submit(database, "a")
            server.kill()
            for _ in range(2):
                with pytest.raises(StoreUnavailableError) as away:
                    await database.batches.seal_batch(batch_id)
            assert f"cannot reach {DATABASE_HOST}:{server.port}: " in str(away.value)
            assert "Connect call failed" in str(away.value)
            assert "as the SSH server sees them" in str(away.value)
            health = await database.check()
            assert health.tunnel is not None
            assert health.tunnel.up
            server.start()
            assert (await database.batches.seal_batch(batch_id)).total_files == 1
    finally:
        server.remove()


async def refusal(url: str, options: SshOptions, folder: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        async with opened(url, options, folder):
            pass
    assert "s3cret" not in str(refused.value)
    return refused.value


async def test_a_host_key_that_nobody_vouches_for_is_refused_and_shown(
    url: str, ssh: SshServer, tmp_path: Path
):
    empty = tmp_path / "nobody"
    empty.touch()
    refused = await refusal(url, replace(options_of(ssh), known_hosts=empty), tmp_path)
    assert "is not known" in str(refused)
    assert ssh.fingerprint in str(refused)
    assert f"ssh-keyscan -p {ssh.port} 127.0.0.1 >> {empty}" in str(refused)


async def test_a_host_key_that_changed_is_refused_and_shown(url: str, ssh: SshServer, tmp_path: Path):
    expected = ssh.fingerprint
    ssh.change_host_key()
    ssh.restart()
    assert ssh.fingerprint != expected
    refused = await refusal(url, options_of(ssh), tmp_path)
    assert "another key than before" in str(refused)
    assert ssh.fingerprint in str(refused)
    assert f"ssh-keygen -R '[127.0.0.1]:{ssh.port}'" in str(refused)


async def test_a_host_key_of_another_kind_is_refused(url: str, ssh: SshServer, tmp_path: Path):
    other = new_key(tmp_path / "ecdsa", algorithm="ecdsa-sha2-nistp256").with_suffix(".pub").read_text()
    ssh.known_hosts.write_text(f"[127.0.0.1]:{ssh.port} {other}")
    refused = await refusal(url, options_of(ssh), tmp_path)
    assert "another key than before" in str(refused)
    assert ssh.fingerprint in str(refused)


async def test_a_host_key_that_changes_at_run_time_is_refused_from_then_on(
    database: PostgresDatabase, ssh: SshServer
):
    ssh.change_host_key()
    ssh.restart()
    with pytest.raises(ConfigurationError, match="another key than before"):
        await wait_until_it_serves(database)


async def test_a_key_or_user_that_the_server_does_not_let_in_is_refused(
    url: str, ssh: SshServer, tmp_path: Path
):
    options = options_of(ssh)
    for wrong in (replace(options, key=new_key(tmp_path / "stranger")), replace(options, user="stranger")):
        refused = await refusal(url, wrong, tmp_path)
        assert isinstance(refused, AccessDeniedError)
        assert f"{wrong.user}@127.0.0.1:{ssh.port} does not let us in with the key {wrong.key}" in str(
            refused
        )


async def test_keys_that_cannot_be_used_are_named(url: str, ssh: SshServer, tmp_path: Path):
    options = options_of(ssh)
    locked = new_key(tmp_path / "locked", passphrase="hidden")
    assert "has a passphrase" in str(await refusal(url, replace(options, key=locked), tmp_path))
    absent = replace(options, key=tmp_path / "absent")
    assert "absent of the SSH tunnel cannot be read (No such file" in str(
        await refusal(url, absent, tmp_path)
    )
    public = replace(options, key=ssh.key.with_suffix(".pub"))
    assert "is no private key" in str(await refusal(url, public, tmp_path))


async def test_known_hosts_that_cannot_be_used_are_named(url: str, ssh: SshServer, tmp_path: Path):
    absent = replace(options_of(ssh), known_hosts=tmp_path / "absent")
    assert "ssh-keyscan" in str(await refusal(url, absent, tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("broken")
    said = await refusal(url, replace(options_of(ssh), known_hosts=broken), tmp_path)
    assert f"{broken} is no known_hosts file" in str(said)


async def test_what_the_server_may_not_forward_to_is_a_wrong_setting(
    url: str, ssh: SshServer, tmp_path: Path
):
    forbidden = make_url(url).set(host="forbidden.internal").render_as_string(hide_password=False)
    refused = await refusal(forbidden, options_of(ssh), tmp_path)
    assert "may not forward to forbidden.internal" in str(refused)


async def test_what_speaks_no_ssh_is_a_wrong_setting(
    url: str, ssh: SshServer, postgres: PostgresHost, tmp_path: Path
):
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2_000)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        other = replace(options_of(ssh), port=server.sockets[0].getsockname()[1])
        assert "SSH_TUNNEL_PORT" in str(await refusal(url, other, tmp_path))


async def test_a_wrong_password_of_the_database_is_said_as_without_a_tunnel(
    url: str, ssh: SshServer, tmp_path: Path
):
    wrong = make_url(url).set(password="s3cret-no").render_as_string(hide_password=False)
    assert "password authentication failed" in str(await refusal(wrong, options_of(ssh), tmp_path))


async def test_a_failed_attempt_is_told_to_all_who_ask_without_another(
    url: str, ssh: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attempts = 0

    async def count(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise ConfigurationError("not today")

    monkeypatch.setattr(tunnels.Forwarding, "open", count)
    tunnel = server_of(url, ssh=options_of(ssh)).tunnel
    assert tunnel is not None
    try:
        for _ in range(5):
            with pytest.raises(ConfigurationError, match="not today"):
                await asyncio.to_thread(tunnel.port)
        assert attempts == 1
    finally:
        tunnel.close()
    assert not tunnel.state.up
