"""What the processes of one run announce of their steps, heard as it comes."""

import os
import select
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.support.announced import Announcement, Step


class Announcements:
    """Reads the pipe at ``path``, which it makes. Listen all the time: who announces waits while the pipe is full."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # For writing too, so that it never ends.
        self._rest = b""
        self._under_way: Counter[tuple[int, Step, str]] = Counter()
        self.executions: Counter[str] = Counter()
        """How often the extraction of each source was begun."""

    def close(self) -> None:
        os.close(self._end)

    def listen(self, seconds: float) -> Iterator[Announcement]:
        """What comes within this time, and what was there before."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            if select.select([self._end], [], [], left)[0]:
                yield from self._take()
            elif left == 0.0:
                return

    def hear_out(self, seconds: float = 0.0) -> None:
        for _ in self.listen(seconds):
            pass

    def under_way(self, pids: Collection[int] | None = None) -> set[Step]:
        """What was begun and not ended, by these processes or by all."""
        return {
            step
            for (pid, step, _), times in self._under_way.items()
            if times and (pids is None or pid in pids)
        }

    def forget(self, pids: Collection[int] | None = None) -> None:
        """These processes, or all, are dead: nothing of theirs is under way."""
        for key in [key for key in self._under_way if pids is None or key[0] in pids]:
            del self._under_way[key]

    def _take(self) -> list[Announcement]:
        """All that is there, kept count of whether or not the listener goes on listening."""
        *lines, self._rest = (self._rest + os.read(self._end, 1 << 16)).split(b"\n")
        taken = [Announcement.of_line(line.decode()) for line in lines]
        for each in taken:
            self._under_way[each.pid, each.step, each.what] += 1 if each.begins else -1
            if each.begins and each.step is Step.EXTRACTING:
                self.executions[each.what] += 1
        return taken
