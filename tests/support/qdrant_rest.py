"""The REST side of the Qdrant test server: the real engine (qdrant-edge) behind a REST layer of our own.

It is no Qdrant server: one shard, no cluster, nothing optimised in the background. What the product uses of the
REST interface is here with the bodies, status codes and error texts of Qdrant's, so that the unmodified
qdrant-client talks to it.

``python -m tests.support.qdrant_rest FOLDER PORT FLUSH_SECONDS [API_KEY]``
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson

from tests.support.qdrant_collection import UPDATED, Collection
from tests.support.qdrant_http import Answer, HttpConnection, Request

VERSION = "1.19.0"
_HEALTHY = Answer(200, b"healthz check passed", "text/plain")
_OPEN_TO_ALL = {
    "/": Answer(200, orjson.dumps({"title": "qdrant - vector search engine", "version": VERSION})),
    "/healthz": _HEALTHY,
    "/livez": _HEALTHY,
    "/readyz": _HEALTHY,
}

_LOOKS: dict[str, Callable[[Collection, Any], Any]] = {
    "POST points": Collection.retrieve,
    "POST points/batch": Collection.batch,
    "POST points/scroll": Collection.scroll,
    "POST points/count": Collection.count,
    "POST points/query": Collection.query,
    "POST points/query/batch": Collection.query_batch,
    "POST facet": Collection.facet,
}
_UPDATES: dict[str, Callable[[Collection, Any], None]] = {
    "PUT points": Collection.upsert,
    "POST points/payload": Collection.set_payload,
    "PUT points/payload": Collection.overwrite_payload,
    "POST points/payload/delete": Collection.delete_payload,
    "POST points/payload/clear": Collection.clear_payload,
    "POST points/delete": Collection.delete_points,
    "PUT points/vectors": Collection.update_vectors,
    "POST points/vectors/delete": Collection.delete_vectors,
    "PUT index": Collection.create_index,
}


class RequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    def __init__(self, folder: Path, api_key: str | None) -> None:
        self._folder = folder
        self._api_key = api_key
        self._collections = {
            unquote(each.name): Collection.load(each)
            for each in sorted(folder.iterdir())
            if not each.name.startswith(".")
        }

    async def flush_now_and_then(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            for each in list(self._collections.values()):
                if each.unflushed:
                    each.flush()

    def close(self) -> None:
        for each in self._collections.values():
            each.close()

    # -- requests ------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        if request.path in _OPEN_TO_ALL:
            return _OPEN_TO_ALL[request.path]
        started = time.perf_counter()
        content: dict[str, Any]
        try:
            self._check_key(request)
            content, status = {"result": self._result(request), "status": "ok"}, 200
        except RequestError as failure:
            content, status = {"status": {"error": str(failure)}}, failure.status
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            content, status = {"status": {"error": f"Format error in JSON body: {error}"}}, 400
        except Exception as error:  # noqa: BLE001 (the engine raises nothing more exact)
            content, status = {"status": {"error": f"Wrong input: {error}"}}, 400
        content["time"] = time.perf_counter() - started
        return Answer(status, orjson.dumps(content))

    def _check_key(self, request: Request) -> None:
        given = request.headers.get(b"api-key", b"").decode("latin-1")
        if self._api_key is not None and given != self._api_key:
            raise RequestError(401, "Must provide an API key or an Authorization bearer token")

    def _result(self, request: Request) -> Any:
        match (request.method, *map(unquote, request.path.split("/")[1:])):
            case "GET", "collections":
                return {"collections": [{"name": name} for name in self._collections]}
            case "GET", "collections", name:
                return self._collection(name).info()
            case "GET", "collections", name, "exists":
                return {"exists": name in self._collections}
            case "PUT", "collections", name:
                return self._create(name, _body(request))
            case "DELETE", "collections", name:
                return self._delete(name)
            case "DELETE", "collections", name, "index", field:
                self._collection(name).delete_index(field)
                return UPDATED
            case method, "collections", name, *path:
                return self._of_points(name, f"{method} {'/'.join(path)}", request)
        raise _not_found(request)

    def _of_points(self, name: str, wanted: str, request: Request) -> Any:
        if look := _LOOKS.get(wanted):
            return look(self._collection(name), _body(request))
        if update := _UPDATES.get(wanted):
            update(self._collection(name), _body(request))
            return UPDATED
        raise _not_found(request)

    # -- collections ---------------------------------------------------------------------------------

    def _collection(self, name: str) -> Collection:
        if name not in self._collections:
            raise RequestError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections[name]

    def _create(self, name: str, body: Any) -> bool:
        if name in self._collections:
            raise RequestError(409, f"Wrong input: Collection `{name}` already exists!")
        self._collections[name] = Collection.create(self._folder / quote(name, safe=""), body)
        return True

    def _delete(self, name: str) -> bool:
        found = self._collections.pop(name, None)
        if found is not None:
            found.delete()
        return found is not None


def _body(request: Request) -> Any:
    body = orjson.loads(request.body)
    if not isinstance(body, dict):
        raise RequestError(400, f"Format error in JSON body: expected an object, got {type(body).__name__}")
    return body


def _not_found(request: Request) -> RequestError:
    return RequestError(404, f"Not found: {request.method} {request.path}")


async def serve(folder: Path, port: int, flush_seconds: float, api_key: str | None) -> None:
    """Until it is told to end."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    server = Server(folder, api_key)
    listening = await loop.create_server(
        lambda: HttpConnection(server.answer), "127.0.0.1", port, backlog=512
    )
    flushing = asyncio.create_task(server.flush_now_and_then(flush_seconds))
    await told.wait()
    listening.close()
    flushing.cancel()
    server.close()


def main(folder: str, port: str, flush_seconds: str, api_key: str | None = None) -> None:
    asyncio.run(serve(Path(folder), int(port), float(flush_seconds), api_key))


if __name__ == "__main__":
    main(*sys.argv[1:])
