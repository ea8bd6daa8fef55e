"""docs/benchmarks.md, rendered from a result: no figure in it is typed by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.tables import Table, as_markdown

PATH = Path(__file__).parents[1] / "docs" / "benchmarks.md"

_HEAD = """# Benchmarks

`make bench` measures all of this again on your machine and writes a result to `bench/results/`;
`python -m bench.run --write-docs` renders this page from it. Figures in it come from one run on one machine:

{machine}

Measured at {measured_at}. A time is the median of five or more runs, with the lowest and the highest in brackets;
a rate stands beside a baseline measured in the same run. The Cranfield collection is not part of the
repository: name the folder that holds `cranfield/` by `--data` or `GRISTMILL_BENCH_DATA`.

Two cores shared with other programs make times vary by about a third; answers do not vary.
"""


def render(result: Mapping[str, Any]) -> str:
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in result["machine"].items())
    head = _HEAD.format(machine=facts, measured_at=result["measured_at"])
    tables = [
        as_markdown(Table.from_json({key: each[key] for key in each if key != "part"}))
        for each in result["tables"]
    ]
    return "\n".join([head, "\n\n".join(tables), ""])
