"""Ingest examples/ into a fresh home and answer three questions: what a new user would type, typed for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
GRISTMILL = Path(sys.executable).with_name("gristmill")
COMPLETED_WITH_ERRORS = 3  # One of the examples is broken on purpose.

QUESTIONS = (
    "How often must the forklift licence be refreshed?",
    "Какая влажность стяжки допустима?",
    "Какой залог за синий поддон?",
)


def gristmill(*arguments: str) -> int:
    shown = " ".join(f"'{word}'" if " " in word else word for word in arguments)
    print(f"\n$ gristmill {shown}", flush=True)
    environment = {**os.environ, "GRISTMILL_HOME": str(HOME)}
    return subprocess.run([GRISTMILL, *arguments], cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    shutil.rmtree(HOME, ignore_errors=True)
    code = gristmill("ingest", "examples", "--name", "demo")
    if code != COMPLETED_WITH_ERRORS:
        print(f"The ingest ended with exit code {code}, not {COMPLETED_WITH_ERRORS}.", file=sys.stderr)
        return 1
    print("\nOne file was broken on purpose; the rest is searchable (exit code 3 says just that).")
    if any(gristmill("search", question, "--limit", "2") for question in QUESTIONS):
        return 1
    print(
        f"\nEverything above lives in {HOME.name}/. Try: GRISTMILL_HOME={HOME.name} {GRISTMILL.relative_to(ROOT)} --help"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
