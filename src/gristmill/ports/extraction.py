"""From bytes to text, and from text to chunks; both run inside pool processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Markup(StrEnum):
    PLAIN = "plain"
    MARKDOWN = "markdown"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The text of one document.

    ``page_starts`` are character offsets into ``text``, one a page, ascending, empty when the format has no
    pages. ``warnings`` are sentences for the user (a partly scanned PDF says which share is missing).
    """

    text: str
    markup: Markup = Markup.PLAIN
    title: str | None = None
    author: str | None = None
    language: str | None = None
    media_type: str | None = None
    pages: int | None = None
    page_starts: tuple[int, ...] = ()
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Passage:
    """One chunk of an extraction: ``text == extraction.text[start:end]``."""

    index: int
    text: str
    start: int
    end: int
    heading: str = ""  # The headings above it, outermost first, joined by " > ".
    page: int | None = None  # 1-based.


class Extractor(Protocol):
    """Turns the bytes of one file into text, or raises ItemError with the category and the next step."""

    name: str
    version: str

    def extract(self, content: bytes, name: str) -> Extraction:
        """Extract ``content``; ``name`` is the file's name, used for its extension only."""
        ...


class Chunker(Protocol):
    """Cuts an extraction into passages that cover all of its text that is not white space."""

    name: str
    version: str

    @property
    def parameters(self) -> str:
        """Everything that changes the result, as one canonical string."""
        ...

    def split(self, extraction: Extraction) -> Sequence[Passage]: ...
