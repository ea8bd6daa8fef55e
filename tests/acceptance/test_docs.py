"""The docs are run, and nothing that exists goes undocumented."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "GRISTMILL_HOME": str(folder / "home")}


@pytest.mark.parametrize("page", ["docs/quickstart.md", "README.md"])
def test_every_command_and_program_of_the_page_runs(page, tmp_path):
    for block in blocks(ROOT / page, "console"):
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            run(["bash", "-c", line], tmp_path, line)
    for program in blocks(ROOT / page, "python"):
        run([sys.executable, "-c", program], tmp_path, program)


def run(command: list[str], folder: Path, shown: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{shown}\n{done.stdout}\n{done.stderr}"


def test_the_reference_pages_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_are_what_their_script_writes():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_examples.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page} links to {target}"
