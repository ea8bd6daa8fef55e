"""Cursors of pages: opaque text that holds the sort key of the last row shown."""

import base64
import json
from typing import Any


def cursor(listing: str, *key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([listing, *key]).encode()).decode()


def key_of(listing: str, cursor: str, *types: type) -> list[Any]:
    """The key, of these types. Raises ValueError for a cursor that did not come from this listing."""
    try:
        key: list[Any]
        found, *key = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        found, key = None, []
    if found != listing or [type(part) for part in key] != list(types):
        raise ValueError(
            f"{cursor!r} is no cursor of the list of {listing}. Take it from the page before, or leave it out."
        )
    return key
