"""Plants each defect of ``defects.py`` in a copy of the source; the contract suites must turn red for each.

``python -m tests.mutants.run [NAME...]`` runs all, or those whose name contains one of the words.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.defect import Defect
from tests.mutants.defects import DEFECTS

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 300
SUITES = {
    "batches": ["tests/contract/test_sqlite_batches.py"],
    "documents": ["tests/contract/test_sqlite_documents.py"],
    "failover": [
        "tests/contract/test_memory_replication.py",
        "tests/integration/test_failover_outages.py",
        "tests/integration/test_failover_promises.py",
        "tests/integration/test_failover_returns.py",
        "tests/unit/test_merging.py",
        "tests/unit/test_document_joins.py",
    ],
    "two databases": [
        "tests/integration/test_failover_opening.py",
        "tests/integration/test_stores_copy.py",
        "tests/integration/test_stores_status.py",
        "tests/integration/test_stores_verify.py",
    ],
    "sql replication": [
        "tests/contract/test_sqlite_replication.py",
        "tests/integration/test_sql_replication.py",
    ],
    "postgres at once": [
        "tests/integration/test_postgres_plans.py",
        "tests/integration/test_postgres_concurrency.py",
    ],
    "postgres opening": ["tests/integration/test_postgres_opening.py"],
    "postgres hnsw": ["tests/integration/test_postgres_hnsw.py"],
    "postgres tunnel": ["tests/integration/test_tunnel.py"],
    "postgres trouble": ["tests/integration/test_postgres_outages.py"],
    "qdrant races": ["tests/integration/test_qdrant_races.py", "tests/integration/test_qdrant_store.py"],
    "qdrant replication": ["tests/contract/test_qdrant_replication.py"],
    "qdrant batches": ["tests/contract/test_qdrant_batches.py"],
    "qdrant documents": ["tests/contract/test_qdrant_documents.py"],
    "qdrant trouble": ["tests/integration/test_qdrant_trouble.py"],
}


def is_caught(defect: Defect) -> bool:
    """Whether the suite fails on a copy of the source with this defect in it."""
    with tempfile.TemporaryDirectory(prefix="gristmill-mutant-") as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / "gristmill" / defect.folder / defect.file
        target.write_text(defect.planted_in(target.read_text(encoding="utf-8")), encoding="utf-8")
        return suite_fails(defect.suite, source=copy)


def suite_fails(suite: str, *, source: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *SUITES[suite]]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in {0, 1}:  # Not a verdict of the tests: say what broke.
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return done.returncode == 1


def main(words: list[str]) -> int:
    chosen = [each for each in DEFECTS if not words or any(word in each.name for word in words)]
    for suite in sorted({each.suite for each in chosen}):
        if suite_fails(suite, source=ROOT / "src"):
            print(f"The {suite} suite fails without any defect; mend that first.")
            return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for defect, caught in zip(chosen, pool.map(is_caught, chosen), strict=True):
            print(f"{'caught  ' if caught else 'SURVIVED'}  {defect.name}  ({defect.file})", flush=True)
            survivors += not caught
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
