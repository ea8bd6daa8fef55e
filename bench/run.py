"""`python -m bench.run`: measure, print tables, write bench/results/<date>.json; docs are rendered from such a file."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import docs_page, machine, product
from bench.context import Context, DataMissingError, default_data
from bench.parts import cold, engine, ingest, quality_cranfield, quality_questions, reuse, search, servers
from bench.tables import Table, as_text

RESULTS = Path(__file__).parent / "results"
NEWEST = "newest"

Part = Callable[[Context], Table]
PARTS: Mapping[str, Sequence[Part]] = {
    "quality": (quality_cranfield.run, quality_questions.run),
    "reuse": (reuse.run,),
    "search": (search.run,),
    "cold": (cold.run,),
    "engine": (engine.run,),
    "servers": (servers.run,),
    "ingest": (ingest.run,),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a requirement was not met or data is missing; a quick run is not judged."""
    options = _options(arguments)
    if options.write_docs is not None:
        return _write_docs(_full() if options.write_docs == NEWEST else [Path(options.write_docs)])
    _take_defaults()
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as work:
        os.chdir(work)  # A gristmill.toml in the working folder would count.
        context = Context(options.data.resolve(), Path(work), quick=options.quick)
        try:
            result = _measure(context, options.only or list(PARTS))
        except DataMissingError as error:
            print(error, file=sys.stderr)
            return 1
    path = _store(result)
    unmet = [each for table in result["tables"] for each in table["requirements"] if not each["met"]]
    print(f"\n{_machine_line(result)}\nWritten to {path}.")
    return int(bool(unmet) and not options.quick)


def _take_defaults() -> None:
    """What is measured is the product as it comes: no settings from the environment."""
    for name in [name for name in os.environ if name.startswith(product.PREFIX)]:
        del os.environ[name]


def _machine_line(result: Mapping[str, Any]) -> str:
    facts = result["machine"]
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _measure(context: Context, parts: Sequence[str]) -> dict[str, Any]:
    facts, tables = machine.facts(), []
    load_before = machine.load()
    for name in parts:
        for run in PARTS[name]:
            print(f"\n[{name}]", flush=True)
            table = run(context)
            print(as_text(table), flush=True)
            tables.append({"part": name} | table.as_json())
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": context.quick,
        "machine": facts | {"load_before": load_before, "load_after": machine.load()},
        "tables": tables,
    }


def _store(result: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    name = result["measured_at"].replace(":", "").replace("+0000", "Z")
    path = RESULTS / f"{name}{'-quick' if result['quick'] else ''}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False), "utf-8")
    return path


def _full() -> list[Path]:
    """All full results, the newest last."""
    return sorted(each for each in RESULTS.glob("*.json") if not each.stem.endswith("-quick"))


def _write_docs(paths: Sequence[Path]) -> int:
    if not paths:
        print(f"There is no full result in {RESULTS}. Run `make bench` first.", file=sys.stderr)
        return 1
    results = docs_page.chosen([json.loads(path.read_text("utf-8")) for path in paths])
    docs_page.PATH.write_text(docs_page.render(results), "utf-8")
    print(f"Wrote {docs_page.PATH} from {len(results)} of {len(paths)} results.")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(PARTS), help="a part to run; may be given again"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmark itself")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of the public collections")
    parser.add_argument(
        "--write-docs",
        nargs="?",
        const=NEWEST,
        metavar="RESULT",
        help="render docs/benchmarks.md from a result (of each part the newest)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
