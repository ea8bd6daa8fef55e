"""Pages in the order of a text, which Qdrant cannot order by: three integers of the payload that follow it.

They describe where a text leaves a reference text of its listing (the first one stored) and the seventeen bytes of
UTF-8 from there on, whose order is that of code points. Texts that agree in all of that are read together and
sorted here, so the order is exact for every text, and a page reads little more than it shows unless very many
texts agree so far.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gristmill.stores.qdrant.points import Condition, Payload, Points, equals, where, within

KEYS = ("place_0", "place_1", "place_2")

_FIRST_BYTES, _NEXT_BYTES = 5, 6
_SIDES = 1 << 13
_LONGEST_SHARED = 4_000


def place(text: str, reference: str) -> tuple[int, int, int]:
    """The three keys; their order is the order of texts, but for texts that have the same ones."""
    given, other = text.encode("utf-8", "surrogatepass"), reference.encode("utf-8", "surrogatepass")
    shared = _shared(given, other)
    if given[shared:] == other[shared:]:
        side = _SIDES // 2
    elif given[shared:] < other[shared:]:
        side = shared
    else:
        side = _SIDES - 1 - shared
    first = shared + _FIRST_BYTES
    second = first + _NEXT_BYTES
    return (
        side << (8 * _FIRST_BYTES) | _number(given[shared:first], _FIRST_BYTES),
        _number(given[first:second], _NEXT_BYTES),
        _number(given[second : second + _NEXT_BYTES], _NEXT_BYTES),
    )


def _shared(given: bytes, other: bytes) -> int:
    """How many bytes both begin with, at most _LONGEST_SHARED."""
    low, high = 0, min(len(given), len(other), _LONGEST_SHARED)
    while low < high:
        middle = (low + high + 1) // 2
        if given[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _number(part: bytes, width: int) -> int:
    return int.from_bytes(part.ljust(width, b"\x00"), "big")


@dataclass(frozen=True, slots=True)
class Listing:
    """Points in the order of ``text_of`` their payloads."""

    points: Points
    reference: str
    text_of: Callable[[Payload], str]

    async def after(
        self, text: str | None, chosen: Sequence[Condition], limit: int, *, including: bool = False
    ) -> list[Payload]:
        """The first ``limit`` of the chosen behind ``text``, or from it on."""
        found = await self._behind(text, list(chosen), limit + 1, level=0)
        if text is not None and not including and found and self.text_of(found[0]) == text:
            del found[0]
        return found[:limit]

    async def _behind(
        self, text: str | None, chosen: list[Condition], limit: int, *, level: int
    ) -> list[Payload]:
        if level == len(KEYS):
            alike = await self.points.by_id(where(*chosen))
            return self._sorted(each for each in alike if text is None or self.text_of(each) >= text)[:limit]
        key, found, lower = KEYS[level], list[Payload](), None
        if text is not None:
            lower = place(text, self.reference)[level]
            found = await self._behind(text, [*chosen, equals(key, lower)], limit, level=level + 1)
        while (missing := limit - len(found)) > 0:
            beyond = [] if lower is None else [within(key, gt=lower)]
            rows = await self.points.first(where(*chosen, *beyond), order=key, limit=missing + 1)
            if len(rows) <= missing:
                return found + self._sorted(rows)
            # Of those with the last value there may be more.
            lower = rows[-1][key]
            found += self._sorted(row for row in rows if row[key] < lower)
            if len(found) < limit:
                same = [*chosen, equals(key, lower)]
                found += await self._behind(None, same, limit - len(found), level=level + 1)
        return found[:limit]

    def _sorted(self, rows: Iterable[Payload]) -> list[Payload]:
        return sorted(rows, key=self.text_of)
