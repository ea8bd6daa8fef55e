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
        self._early = b""  # Of the frames after the one that was asked for.

    @property
    def has_news(self) -> bool:
        """Whether something came that nobody has read yet, the end of the connection included."""
        try:
            self._end.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def send(self, kind: bytes, body: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._end, wire.frame(kind, body))
        except OSError as error:
            raise ConnectionLostError from error

    async def receive(self, largest_bytes: int) -> tuple[bytes, memoryview]:
        """Read the next frame."""
        got = self._early
        while len(got) < wire.HEADER.size:
            got += await self._read()
        kind, size = wire.HEADER.unpack_from(got)
        end = wire.HEADER.size + size
        if kind not in wire.REPLIES or size > largest_bytes:
            raise ConnectionLostError
        self._early = got[end:]
        frame = memoryview(got) if len(got) >= end else await self._whole(got, end)
        return kind, frame[wire.HEADER.size : end]

    def shut(self) -> None:
        """End it for both sides, also when a forked child of the pool process still holds the other end."""
        with suppress(OSError):  # It has ended already.
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end.close()

    async def _read(self) -> bytes:
        try:
            got = await asyncio.get_running_loop().sock_recv(self._end, _READ_BYTES)
        except OSError as error:
            raise ConnectionLostError from error
        if not got:
            raise ConnectionLostError
        return got

    async def _whole(self, got: bytes, size: int) -> memoryview:
        """A frame of so many bytes of which we have the beginning."""
        frame = bytearray(size)
        frame[: len(got)] = got
        room = memoryview(frame)[len(got) :]
        loop = asyncio.get_running_loop()
        try:
            while room:
                count = await loop.sock_recv_into(self._end, room)
                if not count:
                    raise ConnectionLostError
                room = room[count:]
        except OSError as error:
            raise ConnectionLostError from error
        return memoryview(frame)
