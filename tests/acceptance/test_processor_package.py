"""A processor from another package: installed for real, found by its entry point, running its own batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "shouting"
version = "1.0"

[project.entry-points."gristmill.processors"]
shouting = "shouting:Shouter"
"""

MODULE = """
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Result
from gristmill.ports.processor import Processed


class Shouter:
    kind = "shout"

    async def process(self, records, show_stage):
        await show_stage(records, "shouting", 50)
        for record in records:
            text = record.payload["text"]
            if not text:
                yield Processed(record, Failed(Failure(FailureCategory.EMPTY, "Nothing to shout.")))
            else:
                yield Processed(record, Done(Result(details={"loud": text.upper()})))
"""

SCRIPT = """
import json
from gristmill import SemanticCore
from gristmill.domain.record import Item

with SemanticCore() as core:
    items = [Item(f"item-{n}", "shout", payload={"text": "hello" if n else ""}) for n in range(50)]
    report = core.submit(items, kind="shout")
    print(json.dumps(report.view.as_json() | {"batch_id": str(report.batch_id)}))
"""


def test_a_processor_of_another_package_runs_a_batch_of_its_own_kind(tmp_path: Path) -> None:
    site = install(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(site), "GRISTMILL_HOME": str(tmp_path / "home")}
    done = run([sys.executable, "-c", SCRIPT], environment)
    report = json.loads(done)
    assert (report["completed_count"], report["failed_count"]) == (49, 1)
    gristmill = str(Path(sys.executable).with_name("gristmill"))
    shown = run([gristmill, "batches", "results", report["batch_id"], "--json", "--limit", "2"], environment)
    loud = [
        record["result"]["details"]["loud"] for record in json.loads(shown)["results"] if record["result"]
    ]
    assert loud == ["HELLO"]


def install(folder: Path) -> Path:
    package, site = folder / "package", folder / "site"
    package.mkdir()
    (package / "pyproject.toml").write_text(PYPROJECT)
    (package / "shouting.py").write_text(MODULE)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    run([*pip, "--target", str(site), str(package)], dict(os.environ))
    return site


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
