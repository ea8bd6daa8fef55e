"""Frames to and from one pool process, on the event loop."""

import asyncio
import socket
from contextlib import suppress

from gristmill.executors import wire

_READ_BYTES = 1 << 16  # Most replies in one go.


class ConnectionLostError(Exception):
    """The other end is gone, or what it sent is no frame of ours."""


class Connection:
    """Raises ConnectionLostError from ``send`` and ``receive``, at once when ``shut`` by somebody else."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)  # noqa: FBT003  # The parameter is positional-only.
        self._end = end

    async def send(self, kind: bytes, body: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._end, wire.frame(kind, body))
        except OSError as error:
            raise ConnectionLostError from error

    async def receive(self, largest_bytes: int) -> tuple[bytes, memoryview]:
        """Read one frame. Frames never follow each other unasked, so what comes with the header is its body."""
        start = bytearray(_READ_BYTES)
        got = await self._fill(memoryview(start), wire.HEADER.size)
        kind, size = wire.HEADER.unpack_from(start)
        end = wire.HEADER.size + size
        if kind not in wire.REPLIES or size > largest_bytes or got > end:
            raise ConnectionLostError
        frame = start
        if end > got:
            frame = bytearray(end)
            frame[:got] = memoryview(start)[:got]
            await self._fill(memoryview(frame)[got:], end - got)
        return kind, memoryview(frame)[wire.HEADER.size : end]

    def shut(self) -> None:
        """End it for both sides, also when a forked child of the pool process still holds the other end."""
        with suppress(OSError):  # It has ended already.
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end.close()

    async def _fill(self, room: memoryview, at_least: int) -> int:
        loop = asyncio.get_running_loop()
        got = 0
        try:
            while got < at_least:
                count = await loop.sock_recv_into(self._end, room[got:])
                if not count:
                    raise ConnectionLostError
                got += count
        except OSError as error:
            raise ConnectionLostError from error
        return got
