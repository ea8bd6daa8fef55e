"""Small PDF files written by hand: text pages, pages that are only an image, and a password."""

import hashlib
import struct
from collections.abc import Iterable, Sequence

_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_FILE_ID = hashlib.md5(b"gristmill test file").digest()
_FONT, _CMAP, _IMAGE = 3, 4, 5
_FIRST_PAGE = 6


def pdf(
    pages: Sequence[str | None],
    *,
    title: str | None = None,
    author: str | None = None,
    user_password: str | None = None,
    owner_password: str = "owner",
) -> bytes:
    """Write a PDF; a page that is None holds one image and no text, like a scan.

    ``user_password`` encrypts it with RC4 40 bit (PDF 1.7, 7.6.3); the empty one encrypts a file that
    every viewer opens.
    """
    lock = None if user_password is None else _Lock(user_password, owner_password)
    objects = dict(_objects(pages, lock))
    trailer = b"/Root 1 0 R /ID [" + _hex(_FILE_ID) * 2 + b"]"
    number = max(objects)
    if title or author:
        number += 1
        objects[number] = _information(number, title, author, lock)
        trailer += b" /Info %d 0 R" % number
    if lock:
        number += 1
        objects[number] = lock.dictionary
        trailer += b" /Encrypt %d 0 R" % number
    return _file(objects, trailer)


def _file(objects: dict[int, bytes], trailer: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number in sorted(objects):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    start, count = len(out), len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % count
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (count, trailer, start)
    return bytes(out)


def _objects(pages: Sequence[str | None], lock: "_Lock | None") -> Iterable[tuple[int, bytes]]:
    kids = b" ".join(b"%d 0 R" % (_FIRST_PAGE + 2 * i) for i in range(len(pages)))
    yield 1, b"<< /Type /Catalog /Pages 2 0 R >>"
    yield 2, b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    yield (
        _FONT,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode %d 0 R >>" % _CMAP,
    )
    yield _CMAP, _stream(_CMAP, _to_unicode(), b"", lock)
    image = b"/Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray /BitsPerComponent 8"
    yield _IMAGE, _stream(_IMAGE, bytes(range(0, 256, 4)), image, lock)
    for i, text in enumerate(pages):
        number = _FIRST_PAGE + 2 * i
        yield (
            number,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 %d 0 R >> /XObject << /I1 %d 0 R >> >> >>"
            % (number + 1, _FONT, _IMAGE),
        )
        yield number + 1, _stream(number + 1, _drawing(text), b"", lock)


def _drawing(text: str | None) -> bytes:
    if text is None:
        return b"q 595 0 0 842 0 0 cm /I1 Do Q"
    lines = b" T* ".join(_hex(line.encode("cp1251")) + b" Tj" for line in text.splitlines())
    return b"BT /F1 11 Tf 50 800 Td 14 TL " + lines + b" ET"


def _to_unicode() -> bytes:
    """Map the codes of cp1251 to characters, so that Russian text can be read back."""
    rows = b"\n".join(
        b"<%02X> <%04X>" % (code, ord(bytes([code]).decode("cp1251")))
        for code in range(32, 256)
        if code != 0x98  # The one code that cp1251 leaves free.
    )
    return (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /cp1251 def\n"
        b"1 begincodespacerange <00> <FF> endcodespacerange\n%d beginbfchar\n%s\nendbfchar\n"
        b"endcmap end end" % (rows.count(b"\n") + 1, rows)
    )


def _information(number: int, title: str | None, author: str | None, lock: "_Lock | None") -> bytes:
    parts = []
    for key, value in ((b"Title", title), (b"Author", author)):
        if value:
            raw = b"\xfe\xff" + value.encode("utf-16-be")
            parts.append(b"/%s %s" % (key, _hex(lock.encrypt(number, raw) if lock else raw)))
    return b"<< %s >>" % b" ".join(parts)


def _stream(number: int, data: bytes, entries: bytes, lock: "_Lock | None") -> bytes:
    body = lock.encrypt(number, data) if lock else data
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(body), body)


def _hex(data: bytes) -> bytes:
    return b"<%s>" % data.hex().encode()


class _Lock:
    """The standard security handler, revision 2."""

    def __init__(self, user: str, owner: str) -> None:
        permissions = struct.pack("<i", -4)
        self._owner = _rc4(hashlib.md5(_padded(owner)).digest()[:5], _padded(user))
        seed = _padded(user) + self._owner + permissions + _FILE_ID
        self._key = hashlib.md5(seed).digest()[:5]

    @property
    def dictionary(self) -> bytes:
        user = _rc4(self._key, _PADDING)
        return b"<< /Filter /Standard /V 1 /R 2 /P -4 /O %s /U %s >>" % (_hex(self._owner), _hex(user))

    def encrypt(self, number: int, data: bytes) -> bytes:
        seed = self._key + struct.pack("<I", number)[:3] + b"\0\0"
        return _rc4(hashlib.md5(seed).digest()[:10], data)


def _padded(password: str) -> bytes:
    return (password.encode("latin-1") + _PADDING)[:32]


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) & 255
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) & 255
        j = (j + state[i]) & 255
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) & 255])
    return bytes(out)
