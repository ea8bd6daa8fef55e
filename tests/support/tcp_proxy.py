"""A TCP proxy on loopback in front of a server, so that tests can cut a real server off without hurting it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HOST = "127.0.0.1"


class TcpProxy:
    """Passes on what comes, until it is told otherwise; in the event loop of its test.

    ``passed`` counts the pieces, in both directions, as they come from the sockets. With ``cut_after`` that many more
    pass; then the line is cut and the next one is lost: a request that nobody gets, or the answer to one that was
    carried out.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._held = _bound(0)
        self.port = int(self._held.getsockname()[1])
        self._listener: asyncio.Server | None = None
        self._ends: set[_End] = set()
        self._hangs = False
        self.passed = 0
        self.cut_after: int | None = None

    @property
    def is_cut(self) -> bool:
        return self._listener is None

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            # Bound but not listening: who connects is refused, and nobody else gets the port.
            self._held = _bound(self.port)
        self._drop()

    def hang(self) -> None:
        """Accept connections, and pass nothing on in any of them."""
        self._hangs = True
        for end in self._ends:
            end.pause()

    async def restore(self) -> None:
        """Connections made while it hung are ended; whoever made them tries again."""
        if self._hangs:
            self._hangs = False
            self._drop()
        self.cut_after = None
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: _Client(self), sock=self._held)

    def close(self) -> None:
        self.cut()
        self._held.close()

    # -- what the connections ask --------------------------------------------------------------------

    def passes(self) -> bool:
        """Whether one more piece passes; cuts the line where it was said to be cut."""
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                self.cut_after = None
                self.cut()
                return False
        self.passed += 1
        return True

    def begin(self, client: "_Client") -> None:
        self._ends.add(client)
        if self._hangs:
            client.pause()
        else:
            client.dialing = asyncio.create_task(self._dial(client))

    async def _dial(self, client: "_Client") -> None:
        client.pause()
        try:
            loop = asyncio.get_running_loop()
            _, server = await loop.create_connection(lambda: _End(self), *self._target)
        except OSError:
            client.abort()
            return
        self._ends.add(server)
        client.other, server.other = server, client
        if client.transport is None or client.transport.is_closing():
            server.abort()
        elif self._hangs:
            server.pause()
        else:
            client.resume()

    def forget(self, end: "_End") -> None:
        self._ends.discard(end)

    def _drop(self) -> None:
        for end in list(self._ends):
            end.abort()


class _End(asyncio.Protocol):
    """One of the two connections that make a line: the one to the server."""

    def __init__(self, proxy: TcpProxy) -> None:
        self._proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._proxy.passes() and self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        return False  # Neither of our servers and clients half-closes.

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.forget(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        assert self.transport is not None
        self.transport.resume_reading()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Client(_End):
    """The one from whoever dialled the proxy."""

    dialing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.begin(self)


def _bound(port: int) -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, port))
    return held


@asynccontextmanager
async def tcp_proxy(host: str, port: int) -> AsyncIterator[TcpProxy]:
    proxy = TcpProxy(host, port)
    await proxy.restore()
    try:
        yield proxy
    finally:
        proxy.close()
