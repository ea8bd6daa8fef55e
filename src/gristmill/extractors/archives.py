"""Zip files checked before anyone else opens them: what they would unpack to, and whether they are locked."""

import io
import re
import struct
import zipfile
import zlib

from gristmill.domain.failures import FailureCategory, ItemError

# What zipfile raises for torn or altered bytes; tests/integration/test_torn_archives.py meets each of them.
TORN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)

_READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED_FLAG = 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_STEP_BYTES = 1 << 20
_FEED_BYTES = 1 << 16
_RATIO_FLOOR_BYTES = (
    50 << 20
)  # Below this a high ratio harms nobody: a short file of equal cells reaches 200.
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_ALGORITHM = re.compile(r"""EncryptionMethod[^>]*Algorithm=["']([^"']+)""")


def check_archive(content: bytes, name: str, *, max_expanded_bytes: int, max_ratio: int) -> None:
    """Raise ItemError for a zip file that is broken, locked, or unpacks to more than is allowed.

    Sizes written in the directory are not believed: every member is inflated, a piece at a time, and counted.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = file.infolist()
            if any(member.flag_bits & _ENCRYPTED_FLAG for member in members) or _is_locked(file):
                raise ItemError(
                    FailureCategory.ENCRYPTED, f"{name} is locked with a password. Save it without one."
                )
        limit = min(max_expanded_bytes, max(_RATIO_FLOOR_BYTES, max_ratio * len(content)))
        if max(sum(member.file_size for member in members), _inflated(content, members, limit)) > limit:
            raise ItemError(
                FailureCategory.TOO_LARGE,
                f"{name} has {len(content):,} bytes and unpacks to more than {limit:,}, as archives made to do harm do. "
                "Split it, or raise max_expanded_bytes if it comes from someone you trust.",
            )
    except TORN as error:
        raise ItemError(
            FailureCategory.UNREADABLE,
            f"{name} is damaged or cut short ({error or type(error).__name__}). Replace it with an intact copy.",
        ) from error


def _inflated(content: bytes, members: list[zipfile.ZipInfo], limit: int) -> int:
    """Count the bytes all members unpack to, and stop above ``limit``."""
    total = 0
    view = memoryview(content)
    for member in members:
        _check_method(member)
        magic, name_length, extra_length = _LOCAL_HEADER.unpack_from(content, member.header_offset)
        if magic != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"no member at byte {member.header_offset}")
        start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        data = view[start : start + member.compress_size]
        stored = member.compress_type == zipfile.ZIP_STORED
        total += len(data) if stored else _inflated_size(data, limit - total)
        if total > limit:
            break
    return total


def _check_method(member: zipfile.ZipInfo) -> None:
    if member.compress_type not in _READABLE:
        raise zipfile.BadZipFile(f"compression method {member.compress_type} is not used by documents")


def _inflated_size(data: memoryview, limit: int) -> int:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    for start in range(0, len(data), _FEED_BYTES):
        rest: bytes | memoryview = data[start : start + _FEED_BYTES]
        while rest and size <= limit and not machine.eof:
            size += len(machine.decompress(rest, _STEP_BYTES))
            rest = machine.unconsumed_tail
    return size + len(machine.flush()) if size <= limit else size


def _is_locked(file: zipfile.ZipFile) -> bool:
    """OpenDocument lists locked members in its manifest; a book names the algorithm of its rights management."""
    names = set(file.namelist())
    if "META-INF/manifest.xml" in names and b":encryption-data" in start_of(file, "META-INF/manifest.xml"):
        return True
    if "META-INF/encryption.xml" not in names:
        return False
    listed = _ALGORITHM.findall(start_of(file, "META-INF/encryption.xml").decode("utf-8", "replace"))
    return any(algorithm not in _FONT_ALGORITHMS for algorithm in listed)


def start_of(file: zipfile.ZipFile, member: str) -> bytes:
    """The first bytes of a member, at most a million. Raises one of TORN."""
    _check_method(file.getinfo(member))
    with file.open(member) as stream:
        return stream.read(_STEP_BYTES)
