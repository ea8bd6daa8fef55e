"""Bytes to text: byte order marks, UTF-8 and UTF-16, then Russian and Western single-byte encodings by letters.

Other single-byte encodings (Greek, Polish) cannot be told from Western by so simple a rule: the guess is
always reported.
"""

import codecs
import re
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # Before UTF-16: its mark begins with the same two bytes.
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = bytes(c for c in (*range(1, 32), 127) if c not in b"\b\t\n\v\f\r\x1b")
_CONTROLS_IN_TEXT = 0.01
_NULS_IN_TEXT = 0.05
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_VALID_PER_BROKEN = 4  # A text with fewer good UTF-8 sequences than this for each bad one is something else.
_SAMPLE_BYTES = 200_000

# How much likelier than its letters say each is in a short text: most are of Windows.
_CYRILLIC_ENCODINGS = {"cp1251": 0.2, "koi8-r": 0.05, "cp866": 0.0}
_HIGH_RUN = re.compile(rb"[\x80-\xff]{3,}")
_HIGH = bytes(range(0x80, 0x100))
_RUSSIAN = re.compile("[А-Яа-яЁё]")  # noqa: RUF001 - Cyrillic is meant.
_FREQUENT = re.compile("[оеаинтсрвлкОЕАИНТСРВЛК]")  # Seven in ten letters of Russian prose.
_BROKEN_CASE = re.compile("[а-яё][А-ЯЁ]")  # noqa: RUF001 - Cyrillic is meant.
_SURE, _SURE_WHEN_SHORT, _SHORT = 0.5, 0.3, 20

_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}encoding=["']([\w.:-]+)|<meta[^>]{0,200}charset=["']?([\w.:-]+)|coding[:=][ \t]*([\w.-]+)""",
    re.IGNORECASE,
)
_LINE_ENDS = re.compile("\r\n?")


class NotTextError(ValueError):
    """The bytes are no text in any encoding known here."""


class UnknownEncodingError(NotTextError):
    """The bytes look like text of a language whose encoding is not known here."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """``text`` has Unix line ends; ``warnings`` are predicates: the file's name goes before each."""

    text: str
    encoding: str
    warnings: tuple[str, ...] = ()


def decode(content: bytes) -> Decoded:
    """Raises NotTextError for bytes that are no text, and UnknownEncodingError when only their encoding is unknown."""
    text, encoding, warnings = _marked(content) or _utf16(content) or _unmarked(content)
    if "\0" in text:
        warnings = [*warnings, f"held {text.count(chr(0))} NUL characters, which were removed"]
        text = text.replace("\0", "")
    return Decoded(_LINE_ENDS.sub("\n", text) if "\r" in text else text, encoding, tuple(warnings))


def _marked(content: bytes) -> tuple[str, str, list[str]] | None:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content[len(mark) :].decode(encoding, "replace")
            return text, encoding, _broken(text, encoding)
    return None


def _broken(text: str, encoding: str) -> list[str]:
    count = text.count(_REPLACEMENT)
    if not count:
        return []
    return [
        f"is not valid {encoding.upper()} everywhere: {_REPLACEMENT} stands for what could not be read, {count} times"
    ]


def _utf16(content: bytes) -> tuple[str, str, list[str]] | None:
    """UTF-16 without a mark: almost every high byte is that of ASCII or of Cyrillic, and no control stands out."""
    sample = content[:8192]
    if b"\0" not in sample or len(content) % 2:
        return None
    for encoding, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if high.count(0) + high.count(4) < 0.9 * len(high):
            continue
        text = content.decode(encoding, "replace")
        start = text[:4096]
        controls = sum(c < " " and c not in "\t\n\r\f" for c in start)
        if controls <= _CONTROLS_IN_TEXT * len(start) and _REPLACEMENT not in start:
            return text, encoding, [f"has no byte order mark and was read as {encoding.upper()}"]
    return None


def _unmarked(content: bytes) -> tuple[str, str, list[str]]:
    nuls = content.count(0)
    controls = len(content) - len(content.translate(None, _CONTROLS))
    if nuls > _NULS_IN_TEXT * len(content) or controls > _CONTROLS_IN_TEXT * len(content):
        raise NotTextError
    try:
        return content.decode(), "utf-8", []
    except UnicodeDecodeError:
        pass
    text = content.decode("utf-8", "replace")
    broken = text.count(_REPLACEMENT)
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    if beyond_ascii - broken >= _VALID_PER_BROKEN * broken:
        return text, "utf-8", _broken(text, "utf-8")
    encoding = _declared(content) or _guess(content)
    warning = f"is not UTF-8 and was read as {encoding}; if its letters look wrong, save it as UTF-8"
    return _single_byte(content, encoding), encoding, [warning]


def _declared(content: bytes) -> str | None:
    match = _DECLARED.search(content[:1024])
    if match is None:
        return None
    name = next(filter(None, match.groups())).decode("ascii", "ignore")
    try:
        codec = codecs.lookup(name)
        content[:4096].decode(codec.name, "strict" if codec.name in _CYRILLIC_ENCODINGS else "ignore")
    except (LookupError, UnicodeError):  # Not an encoding of text, or not the one of these bytes.
        return None
    return None if codec.name.startswith("utf") else codec.name


def _single_byte(content: bytes, encoding: str) -> str:
    if encoding == "cp1252":  # Five of its codes are free; latin-1 reads them as controls.
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            return content.decode("latin-1")
    return content.decode(encoding, "replace")


def _guess(content: bytes) -> str:
    """Name the encoding by what the letters beyond ASCII do.

    In Russian they stand in long runs, in Western languages alone or in pairs between ASCII letters. Which
    Cyrillic encoding it is follows from how frequent the letters are that come out, and from their case.
    """
    first = next(i for i, byte in enumerate(content) if byte >= 0x80)
    sample = content[max(0, first - 1000) : first + _SAMPLE_BYTES]
    high = len(sample) - len(sample.translate(None, _HIGH))
    in_runs = sum(len(run) for run in _HIGH_RUN.findall(sample))
    if in_runs < 0.5 * high:
        return "cp1252"
    scores = {encoding: _score(sample, encoding, high) for encoding in _CYRILLIC_ENCODINGS}
    doubt = min(1.0, _SHORT / high)
    encoding = max(scores, key=lambda encoding: scores[encoding] + doubt * _CYRILLIC_ENCODINGS[encoding])
    if scores[encoding] < (_SURE if high >= _SHORT else _SURE_WHEN_SHORT):
        raise UnknownEncodingError
    return encoding


def _score(sample: bytes, encoding: str, high: int) -> float:
    text = sample.decode(encoding, "replace")
    letters = len(_RUSSIAN.findall(text))
    if not letters:
        return 0.0
    frequent = len(_FREQUENT.findall(text)) / letters
    return frequent * letters / high - 2 * len(_BROKEN_CASE.findall(text)) / letters
