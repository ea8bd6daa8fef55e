"""The Cranfield collection (1,400 abstracts, 225 queries), read where it lies: it is not part of the repository."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ENTRY = re.compile(r"^\.I\s+\d+\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\.([TABW])\s*$", re.MULTILINE)
_WORST_RELEVANT = 4  # Codes 1 (complete answer) to 4 (minimum interest) are relevant, -1 is not.


@dataclass(frozen=True, slots=True)
class Abstract:
    number: int
    title: str
    text: str

    def as_markdown(self) -> str:
        """As a person would keep it: the title as heading. The text itself begins with the title once more."""
        return f"# {self.title}\n\n{self.text}\n"


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    relevant: frozenset[int]


@dataclass(frozen=True, slots=True)
class Cranfield:
    abstracts: tuple[Abstract, ...]
    queries: tuple[Query, ...]


def load(folder: Path) -> Cranfield:
    abstracts = parse_abstracts((folder / "cran.all.1400").read_text("utf-8"))
    judged = parse_judgements((folder / "cranqrel").read_text("utf-8"))
    texts = parse_queries((folder / "cran.qry").read_text("utf-8"))
    queries = [
        Query(text, frozenset(judged[number])) for number, text in enumerate(texts, 1) if number in judged
    ]
    return Cranfield(tuple(abstracts), tuple(queries))


def parse_abstracts(stored: str) -> Iterator[Abstract]:
    """Abstracts with text; two of the 1,400 have neither title nor text."""
    for number, entry in enumerate(_ENTRY.split(stored)[1:], start=1):
        fields = _fields(entry)
        text = fields["W"].strip()
        if text:
            yield Abstract(number, _one_line(fields["T"]), text)


def parse_queries(stored: str) -> list[str]:
    """In file order: judgements name queries by position, not by the number after ``.I``."""
    return [_one_line(_fields(entry)["W"]) for entry in _ENTRY.split(stored)[1:]]


def parse_judgements(stored: str) -> dict[int, set[int]]:
    """Relevant document numbers by query position."""
    relevant: dict[int, set[int]] = {}
    for line in stored.splitlines():
        if line.strip():
            query, document, code = (int(part) for part in line.split()[:3])
            if 1 <= code <= _WORST_RELEVANT:
                relevant.setdefault(query, set()).add(document)
    return relevant


def _fields(entry: str) -> dict[str, str]:
    parts = _FIELD.split(entry)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _one_line(text: str) -> str:
    return " ".join(text.split())
