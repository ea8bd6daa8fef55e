"""A processor handles one kind of item. Packages register theirs in the entry point group ``gristmill.processors``."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gristmill.domain.record import Outcome, Record

ShowStage = Callable[[Sequence[Record], str, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Processed:
    record: Record
    outcome: Outcome


class Processor(Protocol):
    """Handles groups of records of its ``kind``.

    The engine hands it a group it has claimed and writes the outcomes it yields, in bulk.
    """

    kind: str

    def process(self, records: Sequence[Record], show_stage: ShowStage) -> AsyncIterator[Processed]:
        """Yield one outcome for each record, in any order, as soon as it is known.

        What is raised fails, as ``internal``, only the records that have no outcome yet: catch what belongs to
        one item. ``await show_stage(records, stage, percent)`` before work that may kill the process, so that
        the crash is charged to those records. A record may come again after a crash: effects must be idempotent.
        """
        ...
