"""HTTP/1.1 for the Qdrant test server: requests are read from connections, and each is answered before the next is read."""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import httptools


@dataclass(slots=True)
class Request:
    method: str = ""
    url: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    @property
    def path(self) -> str:
        return self.url.partition(b"?")[0].decode("ascii")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes
    kind: str = "application/json"

    def head(self) -> bytes:
        status = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"
        return (
            f"{status}\r\ncontent-type: {self.kind}\r\ncontent-length: {len(self.content)}\r\n\r\n".encode()
        )


_NO_HTTP = Answer(400, b"This is no HTTP.", "text/plain")
_OUR_FAULT = Answer(500, b"The test server failed; its stderr has the traceback.", "text/plain")


class HttpConnection(asyncio.Protocol):
    """The methods that begin with ``on_`` are called by the parser."""

    _transport: asyncio.Transport

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            traceback.print_exc()
            self._write(_OUR_FAULT)
            self._transport.close()
        except httptools.HttpParserError:
            self._write(_NO_HTTP)
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._request.body += body

    def on_message_complete(self) -> None:
        request, self._request = self._request, Request()
        request.method = self._parser.get_method().decode("ascii")
        self._write(self._answer(request))
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _write(self, answer: Answer) -> None:
        self._transport.write(answer.head() + answer.content)
