"""The product as a user runs it: an installation in a folder of its own, the shell command, a ranking of files."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.scoring import by_best_chunk
from gristmill.library import Gristmill

PREFIX = "GRISTMILL_"
COMMAND = Path(sys.executable).with_name("gristmill")


class UnexpectedError(Exception):
    """The product did not do what a benchmark builds on, so a figure would mean nothing."""


def write_files(folder: Path, texts: Mapping[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return folder


async def ingest(gristmill: Gristmill, folder: Path) -> None:
    report = await gristmill.ingest_path(folder)
    if report.view.failed_count or report.skipped:
        raise UnexpectedError(
            f"{report.view.failed_count} files of {folder} failed and {len(report.skipped)} were skipped: "
            f"{report.view.error_messages}"
        )


async def ranked_files(gristmill: Gristmill, query: str, *, search_type: str, chunks: int) -> list[str]:
    """The names of the files found, without extension, each in the place of its best chunk."""
    answer = await gristmill.search(query, type=search_type, limit=chunks)
    if answer.degraded:
        raise UnexpectedError(f"The answer to {query!r} was degraded: {answer.reason}")
    return by_best_chunk(Path(found.hit.source).stem for found in answer.results)


def run_command(*arguments: str, home: Path) -> str:
    """Run ``gristmill`` in a shell's place and return what it printed. Raises UnexpectedError if it fails."""
    environment = clean_environment() | {PREFIX + "HOME": str(home)}
    done = subprocess.run(
        [COMMAND, *arguments], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnexpectedError(f"gristmill {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Ours without settings of the product, which a benchmark takes at their defaults, and with compiled modules kept."""
    dropped = "PYTHONDONTWRITEBYTECODE"
    return {
        name: value for name, value in os.environ.items() if name != dropped and not name.startswith(PREFIX)
    }
