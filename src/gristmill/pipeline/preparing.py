"""Preparing documents in pool processes, small ones together where they are embedded there too."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from gristmill.pipeline.prepare import EmbedTexts, Prepared, Recipe, Task, prepare, prepare_together
from gristmill.ports.executor import Broken, Call, Executor, Returned

# What a call costs is shared, and texts are embedded faster by the dozen than by the handful. More than this
# gained nothing more, and all of it is done again where one document breaks its process.
MOST_TOGETHER = 16
_BYTES_TOGETHER = 32 << 10
# They take milliseconds. If one of them hangs, the others wait no longer than this until they are tried alone.
_SECONDS_TOGETHER = 10.0


@dataclass(frozen=True, slots=True)
class ItemLimits:
    time_seconds: float = 120.0
    memory_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Sized:
    """A task and the bytes of its content."""

    task: Task
    size: int


class Preparing:
    """Each document comes to a result of its own: those that break in company are tried again, each alone."""

    def __init__(self, executor: Executor, recipe: Recipe, limits: ItemLimits) -> None:
        self._executor = executor
        self._recipe = recipe
        self._limits = limits

    async def run(
        self, tasks: Sequence[Sized], embed_texts: EmbedTexts | None
    ) -> AsyncIterator[tuple[int, Prepared | Broken]]:
        """What became of each task, by its position, as results come; ``embed_texts`` embeds them as well.

        What could not be prepared is tried again at once, so that it is known early; what was in the call that broke
        its process is tried when all others are done, since one of it may break or hang another process.
        """
        suspects: list[int] = []
        groups = _groups(tasks) if embed_texts else _alone(range(len(tasks)))
        async for group, result in self._call(tasks, groups, embed_texts):
            found = _apart(group, result)
            for at, prepared in found.items():
                yield at, prepared
            others = [at for at in group if at not in found]
            if isinstance(result, Broken):
                suspects += others
            else:
                async for each in self._each_alone(tasks, others, embed_texts):
                    yield each
        async for each in self._each_alone(tasks, suspects, embed_texts):
            yield each

    async def _each_alone(
        self, tasks: Sequence[Sized], positions: Sequence[int], embed_texts: EmbedTexts | None
    ) -> AsyncIterator[tuple[int, Prepared | Broken]]:
        if positions:
            async for group, result in self._call(tasks, _alone(positions), embed_texts):
                for each in _apart(group, result).items():
                    yield each

    async def _call(
        self, tasks: Sequence[Sized], groups: Sequence[Sequence[int]], embed_texts: EmbedTexts | None
    ) -> AsyncIterator[tuple[Sequence[int], Returned | Broken]]:
        calls: list[Call] = []
        for number, group in enumerate(groups):
            each = tuple(tasks[at].task for at in group)
            alone, seconds = len(each) == 1, self._limits.time_seconds
            calls.append(
                Call(
                    key=str(number),
                    function=prepare if alone else prepare_together,
                    arguments=(each[0] if alone else each, self._recipe, embed_texts),
                    time_limit_seconds=seconds if alone else min(seconds, _SECONDS_TOGETHER),
                    memory_limit_bytes=self._limits.memory_bytes,
                )
            )
        async for result in self._executor.run(calls):
            yield groups[int(result.key)], result


def _alone(positions: Iterable[int]) -> list[list[int]]:
    return [[at] for at in positions]


def _groups(tasks: Sequence[Sized]) -> list[list[int]]:
    """Positions in their order; a large document is by itself."""
    groups: list[list[int]] = []
    room = 0
    for at, each in enumerate(tasks):
        if not groups or each.size > room or len(groups[-1]) == MOST_TOGETHER:
            groups.append([])
            room = _BYTES_TOGETHER
        groups[-1].append(at)
        room -= each.size
    return groups


def _apart(group: Sequence[int], result: Returned | Broken) -> dict[int, Prepared | Broken]:
    """The result of each of a group, by its position; without those that broke in company."""
    match result:
        case Returned(_, Prepared() as prepared):
            return {group[0]: prepared}
        case Returned(_, several):
            return {at: each for at, each in zip(group, several, strict=True) if each is not None}
        case Broken(ran=True) if len(group) > 1:
            return {}
        case Broken():
            return dict.fromkeys(group, result)
