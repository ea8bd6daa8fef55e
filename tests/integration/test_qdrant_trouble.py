"""What a Qdrant database says of trouble: an outage, a matter of configuration, or a mistake of ours."""

import http.server
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.record import Done, Report
from gristmill.ports.errors import AccessDeniedError, ConfigurationError, StoreUnavailableError
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from tests.contract import batches_contract_steps as steps
from tests.support import builders
from tests.support.clocks import ManualClock
from tests.support.qdrant_server import QdrantServer

KEY = "top-secret-key"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"), api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def server(host: QdrantServer) -> Iterator[QdrantServer]:
    """Of all tests here the same one, which takes long to fill with collections. It runs, and they are empty."""
    yield host
    host.restore()
    with httpx.Client(base_url=host.url, headers={"api-key": KEY}) as admin:
        for each in admin.get("/collections").json()["result"]["collections"]:
            emptied = admin.post(f"/collections/{each['name']}/points/delete", json={"filter": {}})
            emptied.raise_for_status()


@pytest.fixture
async def database(server: QdrantServer) -> AsyncIterator[QdrantDatabase]:
    database = _database(server.url)
    await database.open()
    yield database
    await database.close()


async def test_acknowledged_writes_survive_kill_nine(server: QdrantServer, database: QdrantDatabase):
    batch_id = await steps.submit(database, "a", "b", "c", seal=True)
    claimed = await steps.claim(database, 2)
    await database.batches.update_processing_status([Report(claimed[0], Done())])
    version = builders.version("file:///a", ["one two", "three"])
    await database.documents.open_collection("papers", builders.EMBEDDING)
    (wanted,) = await database.documents.stage_versions([version])
    await database.documents.put_vectors(builders.EMBEDDING, builders.vectors_of(version))
    await database.documents.publish({version.document_id: wanted})
    before = await steps.records_of(database, batch_id)
    server.kill()
    server.start()
    assert await steps.records_of(database, batch_id) == before
    assert (await steps.counters(database, batch_id)).completed == 1
    assert len(await database.documents.list_chunks(version.document_id)) == 2


async def test_frozen_server_is_an_outage_after_the_time_out(server: QdrantServer, database: QdrantDatabase):
    batch_id = await steps.submit(database, "a")
    impatient = _database(server.url, seconds=3)
    await impatient.open()
    server.freeze()
    with pytest.raises(StoreUnavailableError, match="did not answer within 3 s"):
        await impatient.batches.claim_records("w1", limit=1)
    assert not (await impatient.check()).ok
    server.thaw()
    for _ in range(10):
        if (await impatient.check()).ok:  # First the server answers what came while it was frozen.
            break
    assert steps.ids(await steps.claim(impatient, batch_id=batch_id)) == ["a"]
    await impatient.close()


async def test_killed_server_is_an_outage(server: QdrantServer, database: QdrantDatabase):
    server.kill()
    with pytest.raises(StoreUnavailableError, match="no connection"):
        await database.batches.list_batches(limit=1)
    health = await database.check()
    assert (health.ok, health.database) == (False, "qdrant")
    server.start()
    assert (await database.check()).ok


async def test_unknown_host_is_an_outage_that_names_the_url():
    with pytest.raises(StoreUnavailableError, match=r"no connection to http://nowhere\.invalid:6333"):
        await _open("http://nowhere.invalid:6333")


@pytest.mark.parametrize("key", [None, "another key"])
async def test_wrong_key_is_a_matter_of_configuration_and_is_not_shown(server: QdrantServer, key: str | None):
    with pytest.raises(AccessDeniedError, match="QDRANT_API_KEY") as refused:
        await _open(server.url, key=key)
    assert "another key" not in str(refused.value)
    assert KEY not in repr(_options(server.url, key=KEY))


async def test_tls_to_a_server_without_it_is_a_matter_of_configuration(server: QdrantServer):
    with pytest.raises(ConfigurationError, match="TLS"):
        await _open(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("url", ["localhost:6333", "ftp://localhost", "http://", "http://[::1"])
def test_url_that_is_none_is_refused(url: str):
    with pytest.raises(ConfigurationError, match="QDRANT_URL"):
        _database(url)


def test_missing_certificates_are_refused(tmp_path: Path):
    options = QdrantOptions("https://localhost:6333", ca_file=tmp_path / "absent.pem")
    with pytest.raises(ConfigurationError, match=r"absent\.pem"):
        QdrantDatabase(options, clock=ManualClock())


def test_password_in_the_url_is_not_shown():
    assert "hidden" not in QdrantOptions("https://user:hidden@example.org:6333").shown_url


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_busy_or_broken_server_is_an_outage(status: int):
    body = b'{"status": {"error": "No space left"}}'
    with _answering(status, body) as url, pytest.raises(StoreUnavailableError, match=str(status)):
        await _open(url)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Hello</html>", "no Qdrant server"),
        (b'{"title": "qdrant", "version": "1.9.0"}', r"version 1\.9\.0"),
    ],
)
async def test_what_is_no_qdrant_or_too_old_is_a_matter_of_configuration(body: bytes, said: str):
    with _answering(200, body) as url, pytest.raises(ConfigurationError, match=said):
        await _open(url)


async def test_newer_schema_is_refused(server: QdrantServer, database: QdrantDatabase):
    await _change(server, "g_state", {"payload": {"schema": 99}, "filter": _of_type("meta")})
    with pytest.raises(ConfigurationError, match="schema 99"):
        await _open(server.url)


async def test_collection_of_other_dimensions_is_refused(server: QdrantServer, database: QdrantDatabase):
    body = {"vectors": {"dense": {"size": 99, "distance": "Dot"}}, "sparse_vectors": {"text": {}}}
    async with _admin(server) as admin:
        (await admin.put("/collections/g_chunks_5", json=body)).raise_for_status()
        with pytest.raises(ConfigurationError, match="99 dimensions"):
            await database.documents.open_collection("odd", EmbeddingIdentity("test", "hash", 5))
        (await admin.delete("/collections/g_chunks_5")).raise_for_status()


async def test_mistake_of_ours_is_no_outage(server: QdrantServer, database: QdrantDatabase):
    async with _admin(server) as admin:
        (await admin.delete("/collections/g_records")).raise_for_status()
    with pytest.raises(UnexpectedResponse):
        await database.batches.claim_records("w1", limit=1)


async def test_index_that_lost_its_points_is_an_outage_that_says_so(database: QdrantDatabase):
    """As a crash leaves it behind on servers before 1.19: nothing is found by the token that it bears."""
    real = database._connection.client

    async def finds_nothing(*_args: Any, **_options: Any) -> None:
        return None

    real.overwrite_payload = finds_nothing
    with pytest.raises(StoreUnavailableError, match="index 'version_token' of its collection 'g_state'"):
        await database.replication.touch()
    with pytest.raises(StoreUnavailableError, match="Delete the payload indexes"):
        await database.replication.reincarnate()


@pytest.mark.parametrize(("version", "warned"), [("1.18.3", 1), ("1.19.0", 0)])
async def test_server_that_is_not_crash_safe_is_warned_of(
    database: QdrantDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str,
    warned: int,
):
    async def info() -> models.VersionInfo:
        return models.VersionInfo(title="qdrant", version=version)

    monkeypatch.setattr(database._connection.client, "info", info)
    await database.open()
    assert capsys.readouterr().out.count("qdrant_not_crash_safe") == warned


async def test_health_tells_version_and_size(database: QdrantDatabase):
    await steps.submit(database, "a", "b")
    health = await database.check()
    assert health.ok
    assert (health.details["records"], health.problem) == ("2", None)
    assert health.details["version"]


def _options(url: str, *, key: str | None = KEY, seconds: int = 10) -> QdrantOptions:
    return QdrantOptions(url, api_key=key and SecretStr(key), timeout_seconds=seconds, prefix="g")


def _database(url: str, *, key: str | None = KEY, seconds: int = 10) -> QdrantDatabase:
    return QdrantDatabase(_options(url, key=key, seconds=seconds), clock=ManualClock())


async def _open(url: str, *, key: str | None = KEY) -> None:
    database = _database(url, key=key)
    try:
        await database.open()
    finally:
        await database.close()


def _admin(server: QdrantServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers={"api-key": KEY})


async def _change(server: QdrantServer, name: str, body: dict[str, Any]) -> None:
    async with _admin(server) as admin:
        (await admin.post(f"/collections/{name}/points/payload", json=body)).raise_for_status()


def _of_type(name: str) -> dict[str, Any]:
    return {"must": [{"key": "type", "match": {"value": name}}]}


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers every request alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        log_message: Callable[..., None] = lambda *_: None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
