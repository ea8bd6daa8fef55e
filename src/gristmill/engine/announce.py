"""Telling listeners that batches have ended: at least once each, from the outbox."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence

import structlog

from gristmill.domain.events import BatchEnded
from gristmill.ports.batches import Batches

Listener = Callable[[BatchEnded], Awaitable[None] | None]

_log = structlog.get_logger(__name__)
_EVENTS_READ = 100


class Announcer:
    """Tells every listener of every event; an event is delivered when none of them has failed on it.

    A listener may hear of an event again, under the same id, after a crash or when another one failed. Plain
    functions are called in a thread.
    """

    def __init__(self, batches: Batches, listeners: Sequence[Listener]) -> None:
        self._batches = batches
        self._listeners = listeners

    async def deliver(self) -> int:
        """Tell of what nobody was told of yet; returns how many events were delivered."""
        events = await self._batches.pending_events(limit=_EVENTS_READ)
        delivered = [event.event_id for event in events if await self._tell_all(event)]
        if delivered:
            await self._batches.events_delivered(delivered)
        return len(delivered)

    async def _tell_all(self, event: BatchEnded) -> bool:
        return all([await self._tell(listener, event) for listener in self._listeners])

    async def _tell(self, listener: Listener, event: BatchEnded) -> bool:
        try:
            if inspect.iscoroutinefunction(listener):
                await listener(event)
            else:
                await asyncio.to_thread(listener, event)
        except Exception as error:  # noqa: BLE001 - a listener may come from another package.
            _log.exception("listener_failed", batch=str(event.batch_id), error=str(error))
            return False
        return True
