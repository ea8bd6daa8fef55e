"""The REST side of the Qdrant test server: the real engine (qdrant-edge) behind a REST layer of our own.

It is no Qdrant server: one shard, no cluster, nothing optimised in the background. What the product uses of the
REST interface is here with the bodies, status codes and error texts of Qdrant's, so that the unmodified
qdrant-client talks to it.

``python -m tests.support.qdrant_rest FOLDER PORT FLUSH_SECONDS [API_KEY]``
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.support.qdrant_collection import UPDATED, Collection

VERSION = "1.19.0"
_OPEN_TO_ALL = {"/", "/healthz", "/readyz", "/livez"}


class RequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    def __init__(self, folder: Path, flush_seconds: float, api_key: str | None) -> None:
        self._folder = folder
        self._flush_seconds = flush_seconds
        self._api_key = api_key
        self._collections = {
            unquote(each.name): Collection.load(each)
            for each in sorted(folder.iterdir())
            if not each.name.startswith(".")
        }

    # -- collections ---------------------------------------------------------------------------------

    def collection(self, request: Request) -> Collection:
        name = request.path_params["name"]
        if name not in self._collections:
            raise RequestError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections[name]

    async def list(self, _: Request) -> Any:
        return {"collections": [{"name": name} for name in self._collections]}

    async def exists(self, request: Request) -> Any:
        return {"exists": request.path_params["name"] in self._collections}

    async def info(self, request: Request) -> Any:
        return self.collection(request).info()

    async def create(self, request: Request) -> Any:
        name = request.path_params["name"]
        body = await _body(request)
        if name in self._collections:
            raise RequestError(409, f"Wrong input: Collection `{name}` already exists!")
        self._collections[name] = Collection.create(self._folder / quote(name, safe=""), body)
        return True

    async def delete(self, request: Request) -> Any:
        found = self._collections.pop(request.path_params["name"], None)
        if found is not None:
            found.delete()
        return found is not None

    async def delete_index(self, request: Request) -> Any:
        self.collection(request).delete_index(request.path_params["field"])
        return UPDATED

    async def flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            for each in list(self._collections.values()):
                if each.unflushed:
                    each.flush()

    def close(self) -> None:
        for each in self._collections.values():
            each.close()

    # -- requests ------------------------------------------------------------------------------------

    def update(self, method: Callable[[Collection, Any], None]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Any:
            method(self.collection(request), await _body(request))
            return UPDATED

        return handle

    def look(self, method: Callable[[Collection, Any], Any]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Any:
            return method(self.collection(request), await _body(request))

        return handle

    def answer(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            try:
                self._check_key(request)
                content, status = {"result": await handle(request), "status": "ok"}, 200
            except RequestError as failure:
                content, status = {"status": {"error": str(failure)}}, failure.status
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                content, status = {"status": {"error": f"Format error in JSON body: {error}"}}, 400
            except Exception as error:  # noqa: BLE001 (the engine raises nothing more exact)
                content, status = {"status": {"error": f"Wrong input: {error}"}}, 400
            content["time"] = time.perf_counter() - started
            return Response(orjson.dumps(content), status, media_type="application/json")

        return endpoint

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("api-key")
        if self._api_key is not None and request.url.path not in _OPEN_TO_ALL and given != self._api_key:
            raise RequestError(401, "Must provide an API key or an Authorization bearer token")


async def _body(request: Request) -> Any:
    body = orjson.loads(await request.body())
    if not isinstance(body, dict):
        raise RequestError(400, f"Format error in JSON body: expected an object, got {type(body).__name__}")
    return body


async def _version(_: Request) -> Response:
    return Response(
        orjson.dumps({"title": "qdrant - vector search engine", "version": VERSION}),
        media_type="application/json",
    )


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("healthz check passed")


def application(folder: Path, flush_seconds: float, api_key: str | None) -> Starlette:
    server = Server(folder, flush_seconds, api_key)

    def route(path: str, handle: Callable[[Request], Any], method: str) -> Route:
        return Route(f"/collections{path}", server.answer(handle), methods=[method])

    def update(path: str, method: Callable[[Collection, Any], None], verb: str = "POST") -> Route:
        return route("/{name}" + path, server.update(method), verb)

    def look(path: str, method: Callable[[Collection, Any], Any]) -> Route:
        return route("/{name}" + path, server.look(method), "POST")

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        flushing = asyncio.create_task(server.flush_now_and_then())
        yield
        flushing.cancel()
        server.close()

    return Starlette(
        routes=[
            look("/points", Collection.retrieve),
            look("/points/scroll", Collection.scroll),
            look("/facet", Collection.facet),
            update("/points", Collection.upsert, "PUT"),
            look("/points/query", Collection.query),
            look("/points/query/batch", Collection.query_batch),
            look("/points/count", Collection.count),
            look("/points/batch", Collection.batch),
            update("/points/payload", Collection.set_payload),
            update("/points/payload", Collection.overwrite_payload, "PUT"),
            update("/points/payload/delete", Collection.delete_payload),
            update("/points/payload/clear", Collection.clear_payload),
            update("/points/delete", Collection.delete_points),
            update("/points/vectors", Collection.update_vectors, "PUT"),
            update("/points/vectors/delete", Collection.delete_vectors),
            update("/index", Collection.create_index, "PUT"),
            route("/{name}/index/{field}", server.delete_index, "DELETE"),
            route("/{name}/exists", server.exists, "GET"),
            route("/{name}", server.info, "GET"),
            route("/{name}", server.create, "PUT"),
            route("/{name}", server.delete, "DELETE"),
            route("", server.list, "GET"),
            Route("/", _version),
            Route("/healthz", _healthy),
            Route("/readyz", _healthy),
            Route("/livez", _healthy),
        ],
        lifespan=lifespan,
    )


def main(folder: str, port: str, flush_seconds: str, api_key: str | None = None) -> None:
    uvicorn.run(
        application(Path(folder), float(flush_seconds), api_key),
        host="127.0.0.1",
        port=int(port),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        backlog=512,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
