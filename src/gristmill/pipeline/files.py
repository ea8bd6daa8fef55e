"""Reading files that may vanish, grow, or turn out not to be files."""

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.pipeline.select import path_of

_PIECE_BYTES = 1 << 20
_TRIES = 3


@dataclass(frozen=True, slots=True)
class FileFacts:
    content_hash: str
    size: int
    modified: datetime


def read_file(source: str, *, limit_bytes: int) -> tuple[bytes, FileFacts]:
    """The bytes of a file and facts about exactly these bytes. Raises ItemError."""
    pieces: list[bytes] = []
    facts = _scan(source, limit_bytes=limit_bytes, keep=pieces)
    return b"".join(pieces), facts


def file_facts(source: str, *, limit_bytes: int) -> FileFacts:
    """Hash a file without keeping it. Raises ItemError."""
    return _scan(source, limit_bytes=limit_bytes, keep=None)


def _scan(source: str, *, limit_bytes: int, keep: list[bytes] | None) -> FileFacts:
    for _ in range(_TRIES):
        try:
            facts = _scanned(source, limit_bytes, keep)
        except OSError as error:
            raise ItemError(FailureCategory.UNREADABLE, _advice(source, error)) from error
        if facts is not None:
            return facts
        if keep is not None:
            keep.clear()
    raise ItemError(
        FailureCategory.UNREADABLE,
        f"{os.path.basename(source)} kept changing while it was read. Retry when its writer has finished.",
    )


def _scanned(source: str, limit_bytes: int, keep: list[bytes] | None) -> FileFacts | None:
    """None when the file changed under the read."""
    # Without O_NONBLOCK a file that became a pipe meanwhile would hang the open.
    descriptor = os.open(path_of(source), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ItemError(FailureCategory.UNREADABLE, f"{source} is not a regular file any more.")
        digest, size = sha256(), 0
        if status.st_size > limit_bytes:
            raise _too_large(source, status.st_size, limit_bytes)
        while piece := file.read(_PIECE_BYTES):
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(source, size, limit_bytes)
            digest.update(piece)
            if keep is not None:
                keep.append(piece)
        after = os.fstat(descriptor)
    if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        return None
    return FileFacts(digest.hexdigest(), size, datetime.fromtimestamp(int(status.st_mtime), UTC))


def _too_large(source: str, size: int, limit_bytes: int) -> ItemError:
    return ItemError(
        FailureCategory.TOO_LARGE,
        f"{os.path.basename(source)} has {size:,} bytes or more; the limit is {limit_bytes:,} (max_file_bytes). "
        "Split the file, or raise the limit.",
    )


def _advice(source: str, error: OSError) -> str:
    name = os.path.basename(source)
    match error:
        case FileNotFoundError():
            return f"{name} is gone: it was there when the batch was made. Put it back, then retry."
        case PermissionError():
            return f"{name} may not be read by this user. Give it read permission, then retry."
        case _:
            return f"{name} cannot be read ({error.strerror or error}). Check the disk or share, then retry."
