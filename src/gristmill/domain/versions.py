"""The order in which two copies of a record are newer or older (protocol V1).

Databases merge by keeping the newer copy, so this order alone decides what survives a split.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeVar


class Ending(IntEnum):
    """How a round ended; within one round an ending beats any claim, and a completion the other endings."""

    OPEN = 0
    FAILED = 1
    CANCELLED = 2
    COMPLETED = 3


class Step(IntEnum):
    """Order within one epoch: a retry or release follows its claim."""

    PROCESSING = 0
    AWAITING_PROVIDER = 1
    PENDING = 2


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Compared field by field, in this order.

    ``round`` rises only by an explicit retry, ``epoch`` only by a claim. ``revision`` and ``stamp`` break ties
    between writes of one claim; clocks decide nothing else. ``write_id`` is new with every application of a
    write (V2), so equal versions mean equal bytes.
    """

    tombstone: bool = False
    round: int = 0
    ending: Ending = Ending.OPEN
    epoch: int = 0
    step: Step = Step.PENDING
    revision: int = 0
    stamp: int = 0
    write_id: str = ""

    def written(self, *, stamp: int, write_id: str) -> "Version":
        """The version of the next write to the same row: one revision on, under its own write id."""
        return self.moved(self.ending, self.step, stamp=stamp, write_id=write_id)

    def moved(
        self,
        ending: Ending,
        step: Step,
        *,
        stamp: int,
        write_id: str,
        to_round: int | None = None,
        to_epoch: int | None = None,
    ) -> "Version":
        """The same for a write that moves the row. Built directly, because every move of every record is one."""
        return Version(
            self.tombstone,
            self.round if to_round is None else to_round,
            ending,
            self.epoch if to_epoch is None else to_epoch,
            step,
            self.revision + 1,
            stamp,
            write_id,
        )


class Versioned(Protocol):
    @property
    def version(self) -> Version: ...


_Row = TypeVar("_Row", bound=Versioned)


def newer(left: _Row, right: _Row) -> _Row:
    return left if left.version >= right.version else right


@dataclass(slots=True)
class WriteIds:
    """Draws write ids: one writer's ids never repeat and compare in the order they were drawn."""

    writer: str
    _drawn: int = 0

    def draw(self) -> str:
        self._drawn += 1
        return f"{self.writer}:{self._drawn:012d}"


def settles(owed: Version, confirmed: Version) -> bool:
    """Whether a confirmation clears a mark: only for the exact version the row still has (V3)."""
    return owed == confirmed
