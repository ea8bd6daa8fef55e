"""Files that are text: prose, Markdown, tables, data and source code, kept exactly as they are written.

CSV, JSON and XML stay as written too: turned into Markdown they lose attributes and keys, or grow.
"""

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.extractors.decode import NotTextError, UnknownEncodingError, decode
from gristmill.extractors.titles import first_heading, front_matter, tidy
from gristmill.ports.extraction import Extraction, Markup

# reStructuredText underlines its headings as Markdown may, so its structure is found the same way.
_MARKDOWN = {
    "md": "markdown",
    "markdown": "markdown",
    "mdx": "markdown",
    "qmd": "markdown",
    "rmd": "markdown",
    "rst": "x-rst",
}
_DATA = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "ndjson": "application/x-ndjson",
    "geojson": "application/geo+json",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "toml": "application/toml",
}
_CODE_EXTENSIONS = (
    "py pyi js mjs cjs jsx ts tsx go rs java kt kts scala groovy c h cc cpp cxx hpp hh cs m mm swift rb php pl pm "
    "lua r jl sh bash zsh fish ps1 bat cmd sql css scss less vue svelte dart ex exs erl hs ml clj lisp el vim tf "
    "proto cmake make mk gradle dockerfile"
)
_CODE = frozenset(_CODE_EXTENSIONS.split())
_BYTES_PER_CHARACTER = 4  # The most that any encoding known here takes.


def text_of(content: bytes, name: str, extension: str, *, max_characters: int) -> Extraction:
    """Raises ItemError for bytes that are no text, and for more text than is allowed."""
    if len(content) > max_characters * _BYTES_PER_CHARACTER:
        raise too_long(name, len(content) // _BYTES_PER_CHARACTER, max_characters)
    text, warnings = decoded(content, name)
    markup = _markup(extension)
    head = front_matter(text) if markup is Markup.MARKDOWN else {}
    title = tidy(head.get("title")) or (first_heading(text) if markup is Markup.MARKDOWN else None)
    return Extraction(
        text=text,
        markup=markup,
        title=title,
        author=head.get("author"),
        media_type=_media_type(extension),
        warnings=warnings,
    )


def decoded(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the text and the warnings for the user; raises ItemError where there is no text."""
    try:
        result = decode(content)
    except UnknownEncodingError as error:
        raise ItemError(
            FailureCategory.UNREADABLE,
            f"{name} is text in an encoding that is not known here. Save it as UTF-8 and submit it again.",
        ) from error
    except NotTextError as error:
        raise ItemError(
            FailureCategory.UNSUPPORTED_FORMAT,
            f"{name} is neither text nor in a known document format. Export it as PDF, office file or text.",
        ) from error
    return result.text, tuple(f"{name} {warning}." for warning in result.warnings)


def too_long(name: str, characters: int, limit: int) -> ItemError:
    return ItemError(
        FailureCategory.TOO_LARGE,
        f"{name} holds {characters:,} characters of text and the limit is {limit:,}. "
        "Split it, or raise max_text_characters.",
    )


def _markup(extension: str) -> Markup:
    if extension in _MARKDOWN:
        return Markup.MARKDOWN
    return Markup.CODE if extension in _CODE else Markup.PLAIN


def _media_type(extension: str) -> str:
    if extension in _MARKDOWN:
        return f"text/{_MARKDOWN[extension]}"
    return _DATA.get(extension, "text/plain")
