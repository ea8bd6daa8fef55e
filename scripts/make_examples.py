"""Builds the demonstration folder `examples/`, the papers of an imaginary supplier of building materials.

The folder holds English and Russian documents in many formats, so that one command shows reading,
indexing and search at once. Two kinds of files live there:

* text formats (Markdown, HTML, RST, CSV, JSON, plain text, Python) are edited in place;
* the others are built from the sources in `scripts/example_sources/`, byte for byte the same every
  time, and must not be edited by hand.

`broken.pdf` is cut in half on purpose: it shows what a file that cannot be read looks like in a run.
`vozvratnaya-tara.txt` is stored in Windows-1251, the old Russian encoding.

Run `python scripts/make_examples.py` to write the built files, and add `--check` to compare instead:
the exit code is then 1 if a file is missing, differs, or is not known to this script.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from example_sources.books import epub, odt
from example_sources.mail import eml
from example_sources.office import docx, xlsx
from example_sources.pdf import pdf, truncated_pdf
from example_sources.slides import pptx

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SOURCES = Path(__file__).resolve().parent / "example_sources"


def windows_text(source: str) -> bytes:
    """Encode a text the way an old Russian editor saved it."""
    return source.replace("\n", "\r\n").encode("cp1251")


EDITED = frozenset(
    {
        "delivery-zones.json",
        "faq.html",
        "meeting-2024-02-14.txt",
        "okhrana-truda.md",
        "returns-policy.md",
        "stock_alerts.py",
        "supplier-ratings.csv",
        "tile-adhesive-guide.rst",
    }
)
BUILT: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "bramble-mixer-manual.pdf": ("bramble-mixer-manual.md", pdf),
    "broken.pdf": ("sealant-safety-sheet.md", truncated_pdf),
    "obuchenie-zatochka.pptx": ("obuchenie-zatochka.md", pptx),
    "pretenziya-krovlya.eml": ("pretenziya-krovlya.md", eml),
    "price-list.xlsx": ("price-list.csv", xlsx),
    "priyomka-tovara.odt": ("priyomka-tovara.md", odt),
    "sealant-safety-sheet.pdf": ("sealant-safety-sheet.md", pdf),
    "staff-handbook.docx": ("staff-handbook.md", docx),
    "timber-handbook.epub": ("timber-handbook.md", epub),
    "vozvratnaya-tara.txt": ("vozvratnaya-tara.md", windows_text),
}


def build() -> dict[str, bytes]:
    """Return the bytes of every built file by name."""
    return {
        name: convert((SOURCES / source).read_text(encoding="utf-8"))
        for name, (source, convert) in BUILT.items()
    }


def differences(expected: dict[str, bytes]) -> list[str]:
    """Say in one line each what is wrong on disk."""
    present = {path.name for path in EXAMPLES.iterdir() if path.is_file()} if EXAMPLES.is_dir() else set()
    known = EDITED | expected.keys()
    problems = [f"missing: {name}" for name in sorted(known - present)]
    problems += [f"unknown: {name}" for name in sorted(present - known)]
    problems += [
        f"differs: {name}"
        for name, content in expected.items()
        if name in present and (EXAMPLES / name).read_bytes() != content
    ]
    return problems


def write(expected: dict[str, bytes]) -> None:
    """Write the built files."""
    EXAMPLES.mkdir(exist_ok=True)
    for name, content in expected.items():
        (EXAMPLES / name).write_bytes(content)
    print(f"wrote {len(expected)} files to {EXAMPLES.relative_to(ROOT)}/")


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Build the demonstration folder.")
    parser.add_argument("--check", action="store_true", help="compare with the files on disk, write nothing")
    arguments = parser.parse_args()
    expected = build()
    if not arguments.check:
        write(expected)
        return 0
    problems = differences(expected)
    print("\n".join(problems) or "examples are up to date")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
