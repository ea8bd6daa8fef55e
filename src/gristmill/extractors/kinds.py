"""Which format a file has: by its first bytes where they say it, else by its extension."""

import io
import zipfile

from gristmill.extractors.archives import TORN, start_of

PDF = "application/pdf"
HTML = "text/html"
EMAIL = "message/rfc822"
OUTLOOK = "application/vnd.ms-outlook"

_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
DOCX = f"{_OOXML}.wordprocessingml.document"
XLSX = f"{_OOXML}.spreadsheetml.sheet"
PPTX = f"{_OOXML}.presentationml.presentation"
EPUB = "application/epub+zip"

# Formats that are kept in a zip file.
_ZIPPED = {
    "docx": DOCX,
    "docm": "application/vnd.ms-word.document.macroEnabled.12",
    "dotx": f"{_OOXML}.wordprocessingml.template",
    "dotm": "application/vnd.ms-word.template.macroEnabled.12",
    "xlsx": XLSX,
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "xltx": f"{_OOXML}.spreadsheetml.template",
    "xltm": "application/vnd.ms-excel.template.macroEnabled.12",
    "xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    "pptx": PPTX,
    "pptm": "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    "potx": f"{_OOXML}.presentationml.template",
    "ppsx": f"{_OOXML}.presentationml.slideshow",
    "odt": f"{_ODF}.text",
    "ods": f"{_ODF}.spreadsheet",
    "odp": f"{_ODF}.presentation",
    "epub": EPUB,
    "hwpx": "application/haansofthwpx",
    "pages": "application/x-iwork-pages-sffpages",
    "numbers": "application/x-iwork-numbers-sffnumbers",
    "key": "application/x-iwork-keynote-sffkey",
}
# Formats of older office programs, kept in a compound file ([MS-CFB]).
_COMPOUND = {
    "doc": "application/msword",
    "dot": "application/msword",
    "xls": "application/vnd.ms-excel",
    "xlt": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "pps": "application/vnd.ms-powerpoint",
    "msg": OUTLOOK,
    "hwp": "application/x-hwp",
}
# Text with a markup of its own: decoded here, understood by the library.
MARKED_UP = {
    "html": HTML,
    "htm": HTML,
    "xhtml": HTML,
    "xht": HTML,
    "ipynb": "application/x-ipynb+json",
    "org": "text/org",
    "adoc": "text/asciidoc",
    "asciidoc": "text/asciidoc",
    "vtt": "text/vtt",
}
_OTHER = {
    "pdf": PDF,
    "rtf": "application/rtf",
    "eml": EMAIL,
    "fb2": "application/x-fictionbook+xml",
    "dbk": "application/docbook+xml",
    "docbook": "application/docbook+xml",
    "wpd": "application/vnd.wordperfect",
}
# Without the first bytes of their format these are a table saved as .xls, a graph, a certificate's key.
_OFTEN_TEXT = _COMPOUND.keys() | {"pages", "numbers", "key"}
_DOCUMENTS = _ZIPPED | _COMPOUND | MARKED_UP | _OTHER
SPREADSHEETS = frozenset(
    _DOCUMENTS[name] for name in ("xlsx", "xlsm", "xltx", "xltm", "xlsb", "xls", "xlt", "ods")
)
ZIPPED = frozenset(_ZIPPED.values())
DECODED_HERE = frozenset(MARKED_UP.values())

_COMPOUND_MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
_STREAMS = (
    ("WordDocument", "doc"),
    ("Workbook", "xls"),
    ("PowerPoint Document", "ppt"),
    ("__substg1.0_", "msg"),
)
_FOLDERS = {"word": "docx", "xl": "xlsx", "ppt": "pptx"}

_NO_OCR = "is an image, and text in images is not recognised (no OCR). Add a version of it with text."
_UNPACK = "is an archive. Unpack it and submit the files in it."
_SOUND = "is a recording, and speech is not recognised. Submit a transcript of it."
_REFUSED_MAGIC = (
    (b"\x89PNG\r\n", _NO_OCR),
    (b"\xff\xd8\xff", _NO_OCR),
    (b"GIF8", _NO_OCR),
    (b"II*\0", _NO_OCR),
    (b"MM\0*", _NO_OCR),
    (b"PK\x03\x04", _UNPACK),
    (b"PK\x05\x06", _UNPACK),
    (b"\x1f\x8b\x08", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", _UNPACK),
    (b"Rar!", _UNPACK),
    (b"ID3", _SOUND),
    (b"OggS", _SOUND),
)
_REFUSED_EXTENSIONS = {
    **dict.fromkeys(
        ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp", "heic", "avif", "svg", "ico"), _NO_OCR
    ),
    **dict.fromkeys(("zip", "7z", "tar", "gz", "tgz", "rar", "bz2", "xz", "zst"), _UNPACK),
    **dict.fromkeys(("mp3", "wav", "ogg", "m4a", "flac", "mp4", "mov", "avi", "mkv", "webm"), _SOUND),
}


def extension_of(name: str) -> str:
    """Lower case, without the dot; empty when there is none."""
    _, dot, extension = name.rpartition(".")
    return extension.lower() if dot else ""


def media_type(content: bytes, extension: str) -> str | None:
    """Return the media type of a document that needs a parser, or None for text and for what is not known."""
    if content.startswith(b"%PDF-"):
        return PDF
    if content.startswith(b"PK"):
        return _zipped(content, extension)
    if content.startswith(_COMPOUND_MAGIC):
        return _compound(content, extension)
    if content.startswith(b"{\\rtf"):
        return _OTHER["rtf"]
    if extension not in MARKED_UP and extension not in {"txt", "md"} and _starts_like_html(content):
        return HTML  # Many programs save a web page as .doc or .xls.
    return None if extension in _OFTEN_TEXT else _DOCUMENTS.get(extension)


def refused(extension: str) -> str | None:
    """Say, as a predicate, why files of this extension are never read; None for all others."""
    return _REFUSED_EXTENSIONS.get(extension)


def refused_by_content(content: bytes) -> str | None:
    """Say what bytes that are no text are, when their beginning is known."""
    return next((reason for magic, reason in _REFUSED_MAGIC if content.startswith(magic)), None)


def is_locked_compound(content: bytes) -> bool:
    """Whether this is what Office saves for a docx, xlsx or pptx with a password ([MS-OFFCRYPTO] 2.3)."""
    return content.startswith(_COMPOUND_MAGIC) and "EncryptedPackage".encode("utf-16-le") in content


def _zipped(content: bytes, extension: str) -> str | None:
    own = _DOCUMENTS.get(extension)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = file.namelist()
            said = start_of(file, "mimetype")[:200] if "mimetype" in names else b""
    except TORN:
        return own  # Whoever reads it next says what is wrong with it.
    declared = said.decode("ascii", "replace").strip()
    if declared in ZIPPED:
        return declared
    for folder, family in _FOLDERS.items():
        if any(name.startswith(f"{folder}/") for name in names):
            same = own is not None and extension[:2] == family[:2]
            return own if same else _ZIPPED[family]
    return own if own in ZIPPED else None


def _compound(content: bytes, extension: str) -> str | None:
    if extension in _COMPOUND:
        return _COMPOUND[extension]
    for stream, known in _STREAMS:
        if stream.encode("utf-16-le") in content:
            return _COMPOUND[known]
    return _DOCUMENTS.get(extension)


def _starts_like_html(content: bytes) -> bool:
    start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    return start.startswith((b"<!doctype html", b"<html"))
