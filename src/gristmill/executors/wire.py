"""Frames between the worker and a pool process: what it is, how long it is, and the body.

Bodies are pickles: both ends are the same program and the same user.
"""

import struct
from typing import BinaryIO

READY = b"H"  # The pool process takes calls from now on.
CALL = b"C"  # LIMITS, then the pickled function and arguments.
RETURNED = b"R"  # The pickled value.
FAILED = b"F"  # The pickled category, message and traceback, all of them text.
NO_MEMORY = b"M"  # Python ran out of memory in the call.
WORN = b"W"  # The call did not begin: SIZE, the bytes that calls before it have left behind, is too much.

REPLIES = frozenset({READY, RETURNED, FAILED, NO_MEMORY, WORN})

HEADER = struct.Struct("!cQ")
SIZE = struct.Struct("!Q")
LIMITS = struct.Struct("!QQ")  # Bytes of memory the call may use, bytes of pickle it may return.


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(body)) + body


def read_frame(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Read the next frame, or None when the other end is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, size = HEADER.unpack(header)
    body = stream.read(size)
    return (kind, body) if len(body) == size else None


def write_frame(stream: BinaryIO, kind: bytes, body: bytes = b"") -> None:
    stream.write(HEADER.pack(kind, len(body)))
    stream.write(body)
    stream.flush()
