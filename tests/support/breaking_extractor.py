"""An extractor that does, to its own process, what the name of a file says: for tests of what that costs the others."""

import ctypes
import os
import sys
import time
from dataclasses import dataclass

from gristmill.domain.failures import FailureCategory
from gristmill.ports.extraction import Extraction, Markup

# What each does to its process, and as what the item must end.
BREAKS = {
    "segfault": FailureCategory.CRASHED,
    "exit": FailureCategory.CRASHED,
    "kill": FailureCategory.CRASHED,
    "memory": FailureCategory.CRASHED,
    "hang": FailureCategory.TIMEOUT,
    "sleep": FailureCategory.TIMEOUT,
    "odd": FailureCategory.INTERNAL,
    "recursion": FailureCategory.INTERNAL,
}
HARMLESS = ("prints", "forks")
MANY_BYTES = 1 << 30


class OddError(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("not even printable")


@dataclass(frozen=True, slots=True)
class BreakingExtractor:
    name: str = "breaking"
    version: str = "1"

    def extract(self, content: bytes, file_name: str) -> Extraction:
        _break(file_name.replace(".", "-").partition("-")[0])
        return Extraction(text=content.decode(), markup=Markup.PLAIN)


def _break(how: str) -> None:
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), 9)
        case "memory":
            held = bytearray(4 << 30)
            held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
        case "hang":
            while True:
                pass
        case "sleep":
            time.sleep(3_600)
        case "odd":
            raise OddError
        case "recursion":
            _break(how)
        case "prints":
            line = "x" * (1 << 20)
            for _ in range(MANY_BYTES >> 20):
                sys.stdout.write(line)
        case "forks":
            if os.fork() == 0:
                time.sleep(3_600)
