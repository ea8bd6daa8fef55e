"""Search the slow way, over everything, to compare answers with; and SQLite's own full text search, to compare speed."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.synthetic import Built

K1, B = 1.2, 0.75
HITS = 10

Scores = NDArray[np.float64]


class ExactSearch:
    """Scores of every chunk, by the definitions of the document port, computed with numpy over plain arrays."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._terms: dict[str, int] = {}
        numbered = [
            self._terms.setdefault(token, len(self._terms)) for tokens in built.tokens for token in tokens
        ]
        lengths = np.array([len(tokens) for tokens in built.tokens])
        chunks = np.repeat(np.arange(len(lengths)), lengths)
        order = np.argsort(np.array(numbered, np.int32), kind="stable")
        self._chunks = chunks[order]
        self._starts = np.searchsorted(np.array(numbered, np.int32)[order], np.arange(len(self._terms) + 1))
        self._norms = K1 * (1 - B + B * lengths / lengths.mean())

    def vector(self, query: NDArray[np.float32]) -> Scores:
        return self._built.vectors.astype(np.float64) @ query.astype(np.float64)

    def text(self, tokens: Sequence[str]) -> Scores:
        """0 for chunks without any of the tokens."""
        count = len(self._norms)
        scores = np.zeros(count)
        for token in tokens:
            term = self._terms.get(token)
            if term is not None:
                found, times = np.unique(
                    self._chunks[self._starts[term] : self._starts[term + 1]], return_counts=True
                )
                idf = math.log(1 + (count - len(found) + 0.5) / (len(found) + 0.5))
                scores[found] += idf * times * (K1 + 1) / (times + self._norms[found])
        return scores

    def allowed(self, filters: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        return np.array(
            [all(each[key] in values for key, values in filters.items()) for each in self._built.metadata]
        )

    def agrees(
        self, hits: Sequence[tuple[str, float]], scores: Scores, *, above: float, tolerance: float
    ) -> bool:
        """Whether the hits are the best by these scores, where scores within the tolerance may come in any order."""
        candidates = np.flatnonzero(scores > above)
        best = candidates[np.argsort(-scores[candidates], kind="stable")][: len(hits)]
        if len(best) < len(hits) or (len(hits) < HITS and len(candidates) > len(hits)):
            return False
        places = {self._built.chunk_ids[number]: number for number in candidates.tolist()}
        return all(
            chunk in places
            and abs(scores[places[chunk]] - scores[number]) <= tolerance
            and abs(score - scores[number]) <= tolerance
            for (chunk, score), number in zip(hits, best, strict=True)
        )


class FullTextSearch:
    """FTS5 over the same tokens, ranked by its bm25, as SQLite offers it."""

    def __init__(self, path: Path, tokens: Sequence[Sequence[str]]) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute(
            "CREATE VIRTUAL TABLE texts USING fts5(tokens, content='', tokenize='unicode61')"
        )
        self._connection.executemany(
            "INSERT INTO texts (rowid, tokens) VALUES (?, ?)",
            ((number, " ".join(each)) for number, each in enumerate(tokens)),
        )
        self._connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")
        self._connection.commit()

    def find(self, tokens: Sequence[str], limit: int) -> list[Any]:
        asked = " OR ".join(f'"{token}"' for token in tokens)
        return self._connection.execute(
            "SELECT rowid, rank FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?", (asked, limit)
        ).fetchall()

    def close(self) -> None:
        self._connection.close()
