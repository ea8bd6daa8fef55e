"""Walks over pages that end even when a database's cursors do not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

MAX_PAGES = 2_000


class Page(Protocol):
    @property
    def after(self) -> str | None: ...


P = TypeVar("P", bound=Page)


async def pages(fetch: Callable[[str | None], Awaitable[P]]) -> AsyncIterator[P]:
    """Every page that ``fetch`` gives for a cursor, to the last; fails when they do not end."""
    after = None
    for _ in range(MAX_PAGES):
        page = await fetch(after)
        yield page
        after = page.after
        if after is None:
            return
    raise AssertionError(f"no last page among {MAX_PAGES:,}")
