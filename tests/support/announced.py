"""The ``gristmill`` command with its steps announced, so that a test knows what a process was doing when it died.

Every step writes a line to the pipe that ANNOUNCE names when it begins, and another when it ends. COMMAND runs it.
"""
# ruff: noqa: PLC0415 - pool processes load this too, and must not load what only the worker needs.

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, wraps
from typing import Any, Self

from gristmill.pipeline import prepare as in_process

ANNOUNCE = "TEST_ANNOUNCE"
COMMAND = (sys.executable, "-c", "from tests.support import announced; announced.main()")
SLICE_ITEMS = 50  # So that a few hundred files are submitted in several slices, as many thousands are.


class Step(StrEnum):
    SUBMITTING = "submitting"
    EXTRACTING = "extracting"
    EMBEDDING = "embedding"
    PUBLISHING = "publishing"
    WRITING = "writing outcomes"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One line. ``what`` is the source that is extracted, else the name of the method."""

    begins: bool
    pid: int
    step: Step
    what: str

    @classmethod
    def of_line(cls, line: str) -> Self:
        sign, pid, step, what = line.split("\t")
        return cls(sign == "+", int(pid), Step(step), what)

    def __str__(self) -> str:
        return "\t".join(("+" if self.begins else "-", str(self.pid), self.step, self.what))


def main() -> None:
    from gristmill import embedders
    from gristmill.cli.main import run
    from gristmill.commands import ingest
    from gristmill.engine import submit
    from gristmill.pipeline import preparing
    from gristmill.stores.sql.batches import SqlBatches
    from gristmill.stores.sql.documents import SqlDocuments

    submit.SLICE_ITEMS = SLICE_ITEMS
    ingest.submit = _announced(Step.SUBMITTING, submit.submit)
    _announce_methods(Step.SUBMITTING, SqlBatches, ["create_batch", "create_processing_records"])
    _announce_methods(Step.WRITING, SqlBatches, ["update_processing_status"])
    _announce_methods(Step.EMBEDDING, SqlDocuments, ["put_vectors"])
    _announce_methods(Step.PUBLISHING, SqlDocuments, ["stage_versions", "publish"])
    preparing.prepare, preparing.prepare_together = prepare, prepare_together
    embedders.embed_texts = embed_texts
    run()


def prepare(
    task: in_process.Task, recipe: in_process.Recipe, embed_texts: in_process.EmbedTexts | None = None
) -> in_process.Prepared:
    """What pool processes run instead of ``pipeline.prepare.prepare``."""
    with _step(Step.EXTRACTING, task.source):
        return in_process.prepare(task, recipe, embed_texts)


def prepare_together(
    tasks: tuple[in_process.Task, ...], recipe: in_process.Recipe, embed_texts: in_process.EmbedTexts
) -> list[in_process.Prepared | None]:
    """What pool processes run instead of ``pipeline.prepare.prepare_together``."""
    with ExitStack() as all_of_them:
        for task in tasks:
            all_of_them.enter_context(_step(Step.EXTRACTING, task.source))
        return in_process.prepare_together(tasks, recipe, embed_texts)


def embed_texts(name: str, texts: tuple[str, ...]) -> Any:
    """What pool processes run instead of ``embedders.embed_texts``."""
    from gristmill.embedders import registry

    with _step(Step.EMBEDDING, "embed_texts"):
        return registry.embed_texts(name, texts)


def _announce_methods(step: Step, owner: type, names: Iterable[str]) -> None:
    for name in names:
        setattr(owner, name, _announced(step, getattr(owner, name)))


def _announced(step: Step, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(work)
    async def announced(*given: Any, **named: Any) -> Any:
        with _step(step, work.__name__):
            return await work(*given, **named)

    return announced


@contextmanager
def _step(step: Step, what: str) -> Iterator[None]:
    _announce(Announcement(begins=True, pid=os.getpid(), step=step, what=what))
    try:
        yield
    finally:
        _announce(Announcement(begins=False, pid=os.getpid(), step=step, what=what))


def _announce(announcement: Announcement) -> None:
    os.write(_pipe(), f"{announcement}\n".encode())  # One write, so that lines of processes do not mix.


@cache
def _pipe() -> int:
    return os.open(os.environ[ANNOUNCE], os.O_WRONLY)
