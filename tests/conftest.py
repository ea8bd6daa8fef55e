"""Figures that a test wants to be read, recorded as its property ``figures``, are printed after the run."""

import gc
from collections.abc import Iterator

import pytest

from tests.support.postgres_databases import PostgresHost, postgres_host


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresHost]:
    """One server for all tests of a process."""
    with postgres_host() as host:
        yield host


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "figures":
                    terminalreporter.write_line(f"\n{value}")
