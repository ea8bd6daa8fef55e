"""Where calls that may hang, crash or eat memory are run: away from the worker."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gristmill.domain.failures import Failure


@dataclass(frozen=True, slots=True)
class Call:
    """One call to run in a pool process.

    ``function`` is a module-level function (it travels by name) and ``arguments`` must pickle.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    time_limit_seconds: float
    memory_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Returned:
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Broken:
    """The call did not return.

    ``timeout`` or ``crashed`` (memory included) when its process had to be replaced; the category of
    the ItemError it raised; ``internal`` for any other exception. ``ran`` is False when it never began, since no
    process could be started: then it is not to blame.
    """

    key: str
    failure: Failure
    ran: bool = True


class Executor(Protocol):
    """Runs calls with limits; a call that breaks its process costs that call alone.

    Missing: a key appears in exactly one result. Order: as results come, not as submitted.
    """

    def run(self, calls: Sequence[Call]) -> AsyncIterator[Returned | Broken]:
        """Run the calls, as many at a time as there are processes, and yield each result as it comes.

        Closing the iterator early cancels what has not started and stops what has. Several ``run`` may be
        active at once; the one with the fewest calls left goes first. Processes start with the first call that needs them.
        Who fetches slowly holds back its own calls, so that results do not pile up.
        """
        ...

    async def close(self) -> None:
        """Stop every process; safe to call twice."""
        ...
