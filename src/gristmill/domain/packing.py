"""Packing work into groups under several limits at once, in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

_Load = TypeVar("_Load")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a group may hold."""

    requests: int
    size_bytes: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Load(Generic[_Load]):
    """One thing to pack and what it weighs."""

    value: _Load
    size_bytes: int
    tokens: int


class DoesNotFitError(ValueError):
    """One load alone is over a limit; it must be refused before packing."""


def fits(load: Load[_Load], limits: Limits) -> bool:
    return limits.requests >= 1 and load.size_bytes <= limits.size_bytes and load.tokens <= limits.tokens


def pack(loads: Iterable[Load[_Load]], limits: Limits) -> Iterator[list[_Load]]:
    """Yield groups in order, each as full as its next load allows; nothing is left out or split.

    Raises DoesNotFitError at a load that is over a limit alone.
    """
    group: list[_Load] = []
    size_bytes = tokens = 0
    for load in loads:
        if not fits(load, limits):
            raise DoesNotFitError(f"{load.size_bytes} bytes and {load.tokens} tokens are over {limits}.")
        over = size_bytes + load.size_bytes > limits.size_bytes or tokens + load.tokens > limits.tokens
        if group and (over or len(group) == limits.requests):
            yield group
            group, size_bytes, tokens = [], 0, 0
        group.append(load.value)
        size_bytes += load.size_bytes
        tokens += load.tokens
    if group:
        yield group
