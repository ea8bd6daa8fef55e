"""BM25 as ``ports.documents.Legs`` defines it, over token lists."""

import math
from collections import Counter
from collections.abc import Sequence

K1 = 1.2
B = 0.75


def bm25_scores(texts: Sequence[Sequence[str]], query: Sequence[str]) -> list[float]:
    """The score of each text, 0 for those that hold no token of the query; a repeated token counts once."""
    counts = [Counter(text) for text in texts]
    mean_length = sum(len(text) for text in texts) / max(1, len(texts))
    scores = [0.0] * len(texts)
    for token in dict.fromkeys(query):
        holding = sum(token in count for count in counts)
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for position, count in enumerate(counts):
            if token in count:
                length = len(texts[position]) / mean_length
                scores[position] += idf * count[token] * (K1 + 1) / (count[token] + K1 * (1 - B + B * length))
    return scores
