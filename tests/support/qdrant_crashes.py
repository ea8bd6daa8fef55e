"""A Qdrant client in front of which a test ends the process, or lets another one have its turn, at a write."""

from collections.abc import Awaitable, Callable
from typing import Any

WRITES = frozenset(
    {"upsert", "overwrite_payload", "set_payload", "delete_payload", "delete", "batch_update_points"}
)


class Crash(BaseException):
    """The process is gone."""


class CrashingClient:
    """Passes everything on to the client until its n-th write."""

    def __init__(self, client: Any, crash_at: int) -> None:
        self._client = client
        self._left = crash_at

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            self._left -= 1
            if self._left == 0:
                raise Crash
        return getattr(self._client, name)


class InterruptedClient:
    """Passes everything on; before the n-th write to a collection, another process has its turn."""

    def __init__(self, client: Any, collection: str, other: Callable[[], Awaitable[Any]], *, at: int) -> None:
        self._client = client
        self._collection = collection
        self._other = other
        self._left = at
        self.interrupted = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in WRITES:
            return method

        async def write(collection: str, *given: Any, **named: Any) -> Any:
            if collection.endswith(f"_{self._collection}"):
                self._left -= 1
                if self._left == 0:
                    await self._other()
                    self.interrupted = True
            return await method(collection, *given, **named)

        return write
