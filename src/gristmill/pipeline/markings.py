"""Which words of a passage answered the query, and the part of it that shows most of them."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from gristmill.pipeline.tokens import units


@dataclass(frozen=True, slots=True)
class Marked:
    """A window of a passage; ``spans`` are (start, end) of the matched words in ``text``, in order.

    The window is part of the passage as it is; ``cut_before`` and ``cut_after`` say whether more of it
    stands on that side.
    """

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    cut_before: bool = False
    cut_after: bool = False


class _Match(NamedTuple):
    start: int
    end: int
    tokens: frozenset[str]


def mark(text: str, query_tokens: Collection[str], *, width: int = 300) -> Marked:
    """Return the window of at most ``width`` characters with most of the query's words, then most matches.

    Without a match it is the beginning of the text. Words are not cut, unless one is longer than the window.
    """
    matches = _matches(text, frozenset(query_tokens))
    start, end = _window(text, _best(matches, width), width)
    spans = tuple(
        (max(match.start, start) - start, min(match.end, end) - start)
        for match in matches
        if match.start < end and match.end > start
    )
    return Marked(
        text[start:end],
        spans,
        cut_before=not text[:start].isspace() and start > 0,
        cut_after=not text[end:].isspace() and end < len(text),
    )


def _matches(text: str, wanted: frozenset[str]) -> list[_Match]:
    found = ((unit, wanted.intersection(unit.tokens)) for unit in units(text))
    return [_Match(unit.start, unit.end, tokens) for unit, tokens in found if tokens]


def _best(matches: list[_Match], width: int) -> tuple[int, int]:
    """Return the span from the first to the last match of the best window; the earliest of equals."""
    best, best_span = (0, 0), (0, 0)
    inside: Counter[str] = Counter()
    first = 0
    for last, match in enumerate(matches):
        inside.update(match.tokens)
        while first < last and match.end - matches[first].start > width:
            inside.subtract(matches[first].tokens)
            inside = +inside
            first += 1
        worth = (len(inside), last - first + 1)
        if worth > best:
            best, best_span = worth, (matches[first].start, match.end)
    return best_span


def _window(text: str, span: tuple[int, int], width: int) -> tuple[int, int]:
    """Widen ``span`` to the window around it, and trim it to whole words."""
    room = max(width - (span[1] - span[0]), 0)
    start = max(0, min(span[0] - room // 2, len(text) - width))
    end = min(len(text), start + width)
    if start and not text[start - 1].isspace():
        start = next((i for i in range(start, span[0]) if text[i].isspace()), min(start, span[0]))
    if end < len(text) and not text[end].isspace():
        end = next((i for i in range(end, span[1], -1) if text[i - 1].isspace()), end)
    window = text[start:end]
    return start + len(window) - len(window.lstrip()), start + len(window.rstrip())
