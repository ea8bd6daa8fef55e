"""A folder of many files for whole runs: short and long, of many formats, with a few of one content."""

import random
import shutil
from pathlib import Path

from tests.support.files import english, russian, write_good_files

PARTS = 6


def write_corpus(folder: Path, count: int) -> None:
    """Write ``count`` files, the same ones each time: one in six long, one in twenty a copy of another."""
    long, copies = count // 6, count // 20
    good = write_good_files(folder, count - long - copies)
    for number in range(long):
        (folder / f"long-{number:03}.md").write_text(_long(number), encoding="utf-8")
    for number, path in enumerate(random.Random(count).sample(good, copies)):
        shutil.copyfile(path, folder / f"copy-{number:03}{path.suffix}")


def _long(number: int) -> str:
    """Several chunks of words that few other files have."""
    parts = (
        f"## Part {part}\n\n" + " ".join(write(1_000 * number + 10 * part + line) for line in range(8))
        for part, write in zip(range(PARTS), [english, russian] * PARTS, strict=False)
    )
    return f"# Survey {number}\n\n" + "\n\n".join(parts)
