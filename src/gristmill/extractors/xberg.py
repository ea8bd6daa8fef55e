"""Documents through xberg, with no network, no recognition of images, and every failure given its category."""

import asyncio
import re
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.extractors import kinds
from gristmill.extractors.titles import first_heading, tidy
from gristmill.ports.extraction import Extraction, Markup

if TYPE_CHECKING:  # The library weighs 100 MB: it is loaded by the first document, not by who imports this.
    from xberg import ExtractedDocument, ExtractionConfig

_NO_LIMIT = 2**40  # The archive was measured before: see archives.py.
_MAX_TABLE_CELLS = 20_000_000
_PAGE_BREAK = "\n\n"
_MAIL = frozenset({kinds.EMAIL, kinds.OUTLOOK})
_PAGED = frozenset({kinds.PDF, kinds.PPTX})
# The Markdown of xberg escapes punctuation, whatever it is told: "Hello\\!", "C:\\\\dir". Undone outside of code,
# except where a row of a table or a line would become something else.
_ESCAPE_OR_CODE = re.compile(
    r"""(?m)(?<!^)\\(\#)|\\([!"$-/:-@\[-`{}~])|(`{3,}[\s\S]*?`{3,}|`[^`\n]*`)""",
)
# In a PDF xberg takes marks between letters for broken Latin ligatures. Between Cyrillic ones they never are;
# of "!" and "#", both read as fi, the first is the likely one.
_FALSE_LIGATURE = re.compile("(?<=[\u0400-\u04ff])(ffi|fi|tt)(?=[\u0400-\u04ff])")
_LIGATURES = {"ffi": '"', "fi": "!", "tt": "*"}
_OBJECT = re.compile(rb"[0-9] obj\b")
_MAIL_PLUMBING = re.compile(r"(?mi)^\*\*(?:message-id|in-reply-to|references|reply-to)\*\*:.*\n*")
_NOISE = frozenset({"ocr"})  # Advice to turn on what is turned off here.
_PAGES_NAMED = 20
_REASON_CHARACTERS = 200
_KEPT_SHARE = 0.98


def document_of(content: bytes, name: str, media_type: str) -> Extraction:
    """Extract a document; needs a thread without a running event loop. Raises ItemError for every failure."""
    if media_type == kinds.PDF and _is_cut_short(content):
        raise ItemError(
            FailureCategory.UNREADABLE,
            f"{name} is cut short: the end of the PDF is missing, and pages with it. Replace it with an intact copy.",
        )
    document = _parsed(content, name, media_type)
    text, starts, empty_pages = _text_and_pages(document, media_type)
    if not text.strip():
        raise _no_text(name, media_type, len(empty_pages))
    structure = document.metadata.pages
    return Extraction(
        text=text,
        markup=Markup.MARKDOWN,
        title=_title(document, media_type, text),
        author=", ".join(document.metadata.authors or ()) or None,
        language=document.metadata.language,
        media_type=media_type,
        pages=structure.total_count if structure and media_type in _PAGED else None,
        page_starts=starts,
        warnings=tuple(_warnings(document, name, media_type, empty_pages)),
    )


def _is_cut_short(content: bytes) -> bool:
    """A PDF read to the end closes with %%EOF; xberg would repair a torn one and leave out what is gone.

    One made for the web, or saved again with changes, has earlier marks too, with objects after them.
    """
    if not content.startswith(b"%PDF-"):
        return False
    end = content.rfind(b"%%EOF")
    return end < 0 or _OBJECT.search(content, end) is not None


def _parsed(content: bytes, name: str, media_type: str) -> "ExtractedDocument":
    from xberg import ExtractInput, extract  # noqa: PLC0415 - see above.

    async def run() -> "ExtractedDocument":
        # The name is not passed on, so that nothing of it can reach the text.
        source = ExtractInput(kind="bytes", bytes=content, mime_type=media_type)
        result = await extract(source, config=_configuration())
        if result.errors or not result.results:
            raise RuntimeError("; ".join(error.message for error in result.errors) or "nothing was extracted")
        return result.results[0]

    try:
        return asyncio.run(run())
    except BaseException as error:
        if not _is_a_failure(error):
            raise
        raise _categorised(error, name) from error


@cache
def _configuration() -> "ExtractionConfig":
    import xberg  # noqa: PLC0415 - see above.

    return xberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        disable_ocr=True,
        output_format="markdown",
        escape_markdown=False,
        max_archive_depth=0,
        extraction_timeout_secs=None,
        tree_sitter=xberg.TreeSitterConfig(enabled=False),
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        pages=xberg.PageConfig(extract_pages=True),
        content_filter=xberg.ContentFilterConfig(include_footnotes=True),
        html_options=xberg.ConversionOptions(extract_metadata=False, skip_images=True, compact_tables=True),
        security_limits=xberg.SecurityLimits(
            max_archive_size=_NO_LIMIT, max_compression_ratio=_NO_LIMIT, max_table_cells=_MAX_TABLE_CELLS
        ),
    )


def _is_a_failure(error: BaseException) -> bool:
    """A panic of native code derives from BaseException; being out of memory is the process's affair."""
    if isinstance(error, MemoryError):
        return False
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _categorised(error: BaseException, name: str) -> ItemError:
    """Everything that xberg raises is a RuntimeError: only its words tell the reasons apart."""
    reason = " ".join(str(error).split())
    words = reason.lower()
    if "encrypted" in words or "password" in words:
        return ItemError(
            FailureCategory.ENCRYPTED, f"{name} is encrypted. Save it without a password and submit it again."
        )
    if "security" in words or "zip bomb" in words:
        return ItemError(
            FailureCategory.TOO_LARGE,
            f"{name} is too large or too deeply nested to be read ({_short(reason)}). Split it into smaller files.",
        )
    if words.startswith("unsupported format"):
        return ItemError(
            FailureCategory.UNSUPPORTED_FORMAT,
            f"{name} is in a format that cannot be read. Export it as PDF or text.",
        )
    return ItemError(
        FailureCategory.UNREADABLE,
        f"{name} cannot be read: it is damaged, cut short, or not what its name says ({_short(reason)}). "
        "Replace it with an intact copy.",
    )


def _short(reason: str) -> str:
    reason = reason.removeprefix("Parsing error: ")
    return reason if len(reason) <= _REASON_CHARACTERS else f"{reason[:_REASON_CHARACTERS]}..."


def _text_and_pages(
    document: "ExtractedDocument", media_type: str
) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Return the text, where each page starts in it, and the numbers of the pages without text.

    The boundaries that xberg reports belong to the text before its Markdown is made and point beside the
    pages; so the text is put together from the pages, which are checked to hold all of it.
    """
    whole = _unescaped(document.content)
    if media_type in _MAIL:
        whole = _MAIL_PLUMBING.sub("", whole)
    if media_type not in _PAGED or not document.pages:
        return whole, (), ()
    pages = [_unescaped(page.content) for page in document.pages]
    empty = tuple(page.page_number for page, text in zip(document.pages, pages, strict=True) if not text)
    if media_type == kinds.PDF:
        pages = [_FALSE_LIGATURE.sub(lambda match: _LIGATURES[match[1]], text) for text in pages]
    joined = _PAGE_BREAK.join(filter(None, pages))
    if len(joined.split()) < _KEPT_SHARE * len(whole.split()):
        return whole, (), empty
    lengths = (len(text) + len(_PAGE_BREAK) if text else 0 for text in pages)
    starts = tuple(accumulate(lengths, initial=0))[:-1]
    return joined, tuple(min(start, len(joined)) for start in starts), empty


def _unescaped(markdown: str) -> str:
    return _ESCAPE_OR_CODE.sub(r"\1\2\3", markdown).strip()


def _no_text(name: str, media_type: str, pages: int) -> ItemError:
    if media_type == kinds.PDF and pages:
        return ItemError(
            FailureCategory.NO_TEXT_LAYER,
            f"{name} has {pages} {'page' if pages == 1 else 'pages'} and no text layer: it is a scan or a drawing. "
            "Recognise its text with an OCR program and submit the result.",
        )
    return ItemError(
        FailureCategory.EMPTY, f"{name} holds no text. If all of it is images, submit a version with text."
    )


def _title(document: "ExtractedDocument", media_type: str, text: str) -> str | None:
    metadata = document.metadata
    if media_type in _MAIL:
        return tidy(metadata.title or metadata.subject)
    title = tidy(metadata.title)
    if title or media_type in kinds.SPREADSHEETS:  # Their headings are the names of sheets.
        return title
    return first_heading(text, deepest=6 if media_type in {kinds.HTML, kinds.PPTX} else 1)


def _warnings(document: "ExtractedDocument", name: str, media_type: str, empty: tuple[int, ...]) -> list[str]:
    found = []
    if empty and media_type == kinds.PDF and document.pages:
        found.append(
            f"{name}: {len(empty)} of {len(document.pages)} pages have no text layer ({_named(empty)}); "
            "what they show cannot be found."
        )
    pdf = document.metadata.format.pdf if document.metadata.format else None
    if pdf and pdf.implausible_text_pages:
        found.append(f"{name}: the text of pages {_named(tuple(pdf.implausible_text_pages))} looks garbled.")
    found += [
        f"{name}: {_short(warning.message)}"
        for warning in document.processing_warnings
        if warning.source not in _NOISE
    ]
    return found


def _named(pages: tuple[int, ...]) -> str:
    listed = ", ".join(map(str, pages[:_PAGES_NAMED]))
    return f"{listed} and {len(pages) - _PAGES_NAMED} more" if len(pages) > _PAGES_NAMED else listed
