"""Qdrant databases for tests: the collections are made once a process and emptied for each test."""

import atexit
import itertools
import os
from functools import cache

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
    database = QdrantDatabase(emptied(), clock=clock)
    await database.open()
    return database


def emptied() -> QdrantOptions:
    """Where there is an empty database."""
    chosen = options(f"{PREFIX}_{next(_opened) // _EMPTIED_BEFORE_NEW}")
    empty(chosen)
    return chosen


def empty(chosen: QdrantOptions) -> None:
    for name in _collections(f"{chosen.prefix}_"):
        answer = _server().post(f"/collections/{name}/points/delete?wait=true", json={"filter": {}})
        answer.raise_for_status()


@cache
def _server() -> httpx.Client:
    """One connection for the run: to make another one for each test takes longer than to empty its collections."""
    url, api_key = shared_server()
    headers = {} if api_key is None else {"api-key": api_key}
    return httpx.Client(base_url=url, headers=headers, timeout=30, verify=False)


def _collections(prefix: str) -> list[str]:
    listed = _server().get("/collections").raise_for_status().json()["result"]["collections"]
    return [each["name"] for each in listed if each["name"].startswith(prefix)]


def _delete_ours() -> None:
    """Leave nothing on a server that outlives the run."""
    for name in _collections(f"{PREFIX}_"):
        _server().delete(f"/collections/{name}")


if "TEST_QDRANT_URL" in os.environ:
    atexit.register(_delete_ours)
