"""Coroutines that are driven by hand, one step at a time, and every order in which several of them can be."""

from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Protocol


class Step:
    """``await`` it to be stopped here until the driver lets ``effect`` happen; its result, or its error, comes back."""

    def __init__(self, effect: Callable[[], Any], *, ready: Callable[[], bool] = lambda: True) -> None:
        self.effect = effect
        self.ready = ready

    def __await__(self) -> Generator["Step", Any, Any]:
        return (yield self)


class Stepped:
    """A coroutine that awaits nothing but steps. ``waiting`` is the one it stands before, None when it has ended."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self.result: Any = None
        self.error: Exception | None = None
        self.waiting: Step | None = None
        self._go(lambda: work.send(None))

    def step(self, *, answer_lost: bool = False) -> None:
        """Let the effect happen. A lost answer is raised as ConnectionError."""
        step = self.waiting
        assert step is not None
        try:
            value = step.effect()
        except Exception as error:  # noqa: BLE001  # It is the coroutine's own.
            raised = error
            self._go(lambda: self._work.throw(raised))
            return
        if answer_lost:
            self._go(lambda: self._work.throw(ConnectionError("The answer was lost.")))
        else:
            self._go(lambda: self._work.send(value))

    def close(self) -> None:
        self._work.close()

    def _go(self, resume: Callable[[], Step]) -> None:
        self.waiting = None
        try:
            self.waiting = resume()
        except StopIteration as ended:
            self.result = ended.value
        except Exception as error:  # noqa: BLE001  # Kept for whoever looks.
            self.error = error


class World(Protocol):
    """``choices``: what can happen next, each a function that makes it happen; none when all has ended."""

    def choices(self) -> list[Callable[[], None]]: ...

    def close(self) -> None: ...


def every_order(new_world: Callable[[], World]) -> Iterator[World]:
    """Each world once, after its last choice; depth first, each history from its beginning."""
    path: list[int] = []
    while True:
        world = new_world()
        widths: list[int] = []
        while choices := world.choices():
            if len(widths) == len(path):
                path.append(0)
            choices[path[len(widths)]]()
            widths.append(len(choices))
        yield world
        world.close()
        while path and path[-1] + 1 == widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1
