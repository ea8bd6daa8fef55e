#!/usr/bin/env bash
# Writes the hashed lock files; they name packages and hashes, and no place to fetch them from.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"; }
compile pyproject.toml --group hatch --output-file requirements/run.txt
compile pyproject.toml --group dev --output-file requirements/dev.txt
compile --group pyproject.toml:bench --output-file requirements/bench.txt
