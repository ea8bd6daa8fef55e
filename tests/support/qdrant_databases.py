"""Qdrant databases for tests: the collections are made once a process and emptied for each test."""

import atexit
import itertools
import os

import httpx
from pydantic import SecretStr

from gristmill.ports.clock import Clock
from gristmill.stores.qdrant.connection import QdrantOptions
from gristmill.stores.qdrant.database import QdrantDatabase
from tests.support.qdrant_server import shared_server

PREFIX = f"test_{os.getpid()}"
# The engine keeps what is deleted until it is optimised, which nothing does here.
_EMPTIED_BEFORE_NEW = 200

_opened = itertools.count()


def options(prefix: str = PREFIX) -> QdrantOptions:
    url, api_key = shared_server()
    return QdrantOptions(url, api_key=None if api_key is None else SecretStr(api_key), prefix=prefix)


async def new_qdrant(clock: Clock) -> QdrantDatabase:
    """An opened and empty database; close it."""
    database = QdrantDatabase(await emptied(), clock=clock)
    await database.open()
    return database


async def emptied() -> QdrantOptions:
    """Where there is an empty database."""
    chosen = options(f"{PREFIX}_{next(_opened) // _EMPTIED_BEFORE_NEW}")
    await empty(chosen)
    return chosen


async def empty(chosen: QdrantOptions) -> None:
    headers = {} if chosen.api_key is None else {"api-key": chosen.api_key.get_secret_value()}
    async with httpx.AsyncClient(base_url=chosen.url, headers=headers, timeout=30, verify=False) as client:
        listed = (await client.get("/collections")).json()["result"]["collections"]
        for name in (each["name"] for each in listed):
            if name.startswith(f"{chosen.prefix}_"):
                answer = await client.post(
                    f"/collections/{name}/points/delete?wait=true", json={"filter": {}}
                )
                answer.raise_for_status()


def _delete_ours() -> None:
    """Leave nothing on a server that outlives the run."""
    url, api_key = shared_server()
    with httpx.Client(base_url=url, headers={"api-key": api_key} if api_key else {}, timeout=30) as client:
        for each in client.get("/collections").json()["result"]["collections"]:
            if each["name"].startswith(f"{PREFIX}_"):
                client.delete(f"/collections/{each['name']}")


if "TEST_QDRANT_URL" in os.environ:
    atexit.register(_delete_ours)
