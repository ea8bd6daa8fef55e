"""Extractions cut into passages at the best boundary that fits: heading, block, paragraph, sentence, word."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.ports.extraction import Extraction, Markup, Passage

_OWN_VERSION = "1"
_SEPARATOR = " > "
# The splitter's time grows with the square of the text: 10 million characters at once take a minute.
_STRETCH_CHARACTERS = 16_000
_CHUNKS_A_STRETCH = 8
_BOUNDARIES = (
    re.compile(r"^#{1,6} ", re.MULTILINE),
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"\s"),
)
_ONLY_HEADINGS = re.compile(r"(?:\s*(?:#{1,6}(?:[ \t].*)?|\S.*\n {0,3}(?:=+|-{2,})[ \t]*)(?:\n|\Z))+")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_NOT_A_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>|]|\d+[.)]|={2,}|-{2,})|\s*$| {4}")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*`]+|\\(?=[^\w\s])")


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    path: tuple[str, ...]


class SemanticChunker:
    """Cuts with semantic-text-splitter, whose sizes and offsets count characters.

    Code is cut between blank lines and lines like prose: there are no grammars for it here.
    """

    name = "semantic"

    def __init__(self, *, size: int = 800, overlap: int = 0) -> None:
        if not 0 <= overlap < size:
            raise ValueError(f"The overlap of {overlap} characters must be below the chunk size of {size}.")
        self.version = f"{_OWN_VERSION}+semantic-text-splitter-{version('semantic-text-splitter')}"
        self._size = size
        self._overlap = overlap
        self._stretch = max(_STRETCH_CHARACTERS, _CHUNKS_A_STRETCH * size)

    @property
    def parameters(self) -> str:
        return f"size={self._size},overlap={self._overlap}"

    def split(self, extraction: Extraction) -> Sequence[Passage]:
        text, is_markdown = extraction.text, extraction.markup is Markup.MARKDOWN
        splitter = (MarkdownSplitter if is_markdown else TextSplitter)(self._size, self._overlap)
        sections = list(_sections(text)) if is_markdown else []
        section_starts = [section.start for section in sections]
        passages: list[Passage] = []
        spans: Iterable[tuple[int, int]] = _spans(text, splitter, self._stretch, is_markdown=is_markdown)
        if is_markdown:
            spans = _with_headings(text, list(spans), self._size)
        for start, end in spans:
            first, last = bisect_right(section_starts, start), bisect_right(section_starts, end - 1)
            passages.append(
                Passage(
                    index=len(passages),
                    text=text[start:end],
                    start=start,
                    end=end,
                    heading=_SEPARATOR.join(_shared_path(sections[max(first - 1, 0) : last], first)),
                    page=bisect_right(extraction.page_starts, start) or None,
                )
            )
        return passages


def _spans(
    text: str, splitter: MarkdownSplitter | TextSplitter, stretch: int, *, is_markdown: bool
) -> Iterator[tuple[int, int]]:
    """Yield the trimmed span of every chunk, in order."""
    try:
        for begin, end in _stretches(text, stretch, is_markdown=is_markdown):
            for offset, chunk in splitter.chunk_indices(text[begin:end]):
                stripped = chunk.strip()
                if stripped:
                    start = begin + offset + chunk.index(stripped)
                    yield start, start + len(stripped)
    except UnicodeEncodeError as error:
        raise ItemError(
            FailureCategory.BAD_INPUT,
            "The text holds half of a surrogate pair, which no database can keep. "
            "Decode it from its bytes again and submit it.",
        ) from error


def _with_headings(text: str, spans: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Yield the spans with no heading left alone: the splitter parts it from a block that fills a chunk.

    Alone it would be the best hit for its own words, and show the reader nothing.
    """
    waiting: tuple[int, int] | None = None
    for start, end in spans:
        begin, waiting = waiting, None
        room = size - (start - begin[0]) if begin else 0
        only_headings = _ONLY_HEADINGS.fullmatch(text, start, end)
        if begin and (start < begin[1] or 2 * room < size or (only_headings and end - begin[0] > size)):
            yield begin
            begin = None
        if only_headings:
            waiting = (begin[0] if begin else start, end)
        elif begin is None or end - begin[0] <= size:
            yield (start if begin is None else begin[0]), end
        else:
            pieces = list(_spans(text[start:end], TextSplitter(room), end - start, is_markdown=False))
            yield begin[0], start + pieces[0][1]
            yield from ((start + a, start + b) for a, b in pieces[1:])
    if waiting:
        yield waiting


def _stretches(text: str, longest: int, *, is_markdown: bool) -> Iterator[tuple[int, int]]:
    """Cut a long text at strong boundaries into pieces that the splitter takes in its stride."""
    begin = 0
    while len(text) - begin > longest:
        end = _boundary(text, begin, begin + longest, is_markdown=is_markdown)
        yield begin, end
        begin = end
    yield begin, len(text)


def _boundary(text: str, begin: int, limit: int, *, is_markdown: bool) -> int:
    """Return the last place of the strongest kind in the second half of the longest allowed stretch."""
    half = (begin + limit) // 2
    for kind in _BOUNDARIES if is_markdown else _BOUNDARIES[1:]:
        places = [match.start() for match in kind.finditer(text, half, limit)]
        if places:
            return places[-1]
    return limit


def _shared_path(sections: Sequence[_Section], first: int) -> tuple[str, ...]:
    """Return the headings that hold for all of a passage, which may span several short sections."""
    if not first or not sections:
        return ()
    shared = sections[0].path
    for section in sections[1:]:
        equal = [a == b for a, b in zip(shared, section.path, strict=False)]
        shared = shared[: equal.index(False) if False in equal else len(equal)]
    return shared


def _sections(text: str) -> Iterator[_Section]:
    """Yield each heading's place with the path of headings that leads to it."""
    open_headings: list[tuple[int, str]] = []
    for start, level, title in _headings(text):
        while open_headings and open_headings[-1][0] >= level:
            open_headings.pop()
        open_headings.append((level, title))
        yield _Section(start, tuple(name for _, name in open_headings if name))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield place, level and title of the headings outside of fenced code."""
    fence, position = "", 0
    above: tuple[int, str] | None = None  # The line before, when it may be a heading with its line below.
    for line in text.splitlines(keepends=True):
        start, position, bare = position, position + len(line), line.rstrip("\r\n")
        if mark := _FENCE.match(bare):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not bare.strip(" `~"):
                fence = ""
            above = None
        elif fence:
            continue
        elif bare.lstrip()[:1] == "#" and (heading := _HEADING.fullmatch(bare)):
            yield start, len(heading[1]), _plain(heading[2] or "")
            above = None
        elif above and _UNDERLINE.fullmatch(bare):
            yield above[0], 1 if "=" in bare else 2, _plain(above[1])
            above = None
        else:
            above = None if _NOT_A_PARAGRAPH.match(bare) else (start, bare)


def _plain(title: str) -> str:
    return " ".join(_INLINE.sub(lambda match: match[1] or "", title).split())
