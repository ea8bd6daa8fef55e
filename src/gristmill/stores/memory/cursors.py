"""Cursors of pages: opaque text that holds the sort key of the last row shown."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_Row = TypeVar("_Row")
_Key = tuple[Any, ...]


def page(
    rows: Sequence[_Row], *, listing: str, key: Callable[[_Row], _Key], limit: int, after: str | None
) -> tuple[list[_Row], str | None]:
    """Up to ``limit`` rows in the order of ``key`` behind the cursor, and the cursor of the next page.

    ``key`` gives JSON values. Raises ValueError for a cursor that did not come from this listing.
    """
    start = None if after is None else _key_of(listing, after)
    behind = sorted((row for row in rows if start is None or key(row) > start), key=key)
    shown = behind[:limit]
    more = len(behind) > len(shown) > 0
    return shown, _cursor(listing, key(shown[-1])) if more else None


def _cursor(listing: str, key: _Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([listing, *key]).encode()).decode()


def _key_of(listing: str, cursor: str) -> _Key:
    try:
        found, *key = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        found, key = None, []
    if found != listing:
        raise ValueError(
            f"{cursor!r} is no cursor of the list of {listing}. Take it from the page before, or leave it out."
        )
    return tuple(key)
