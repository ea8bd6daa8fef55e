"""What a benchmark hands back: tables of measures, and the requirements they were held against."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Measure:
    """A median over ``runs`` with its lowest and highest value; one run is a deterministic figure."""

    median: float
    low: float
    high: float
    runs: int
    unit: str = ""

    @classmethod
    def of(cls, values: Sequence[float], unit: str = "") -> "Measure":
        return cls(statistics.median(values), min(values), max(values), len(values), unit)

    @classmethod
    def exact(cls, value: float, unit: str = "") -> "Measure":
        return cls(value, value, value, 1, unit)

    def per(self, amount: float, unit: str) -> "Measure":
        """Seconds turned into a rate: ``amount`` done in each of them."""
        return Measure(amount / self.median, amount / self.high, amount / self.low, self.runs, unit)

    def __str__(self) -> str:
        shown = _digits(self.median) + (f" {self.unit}" if self.unit else "")
        return shown if self.runs == 1 else f"{shown} ({_digits(self.low)}-{_digits(self.high)})"


def _digits(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.3g}"


Cell = str | int | Measure


@dataclass(frozen=True, slots=True)
class Requirement:
    """A claim about a measured value; judged on the unrounded figures."""

    claim: str
    measured: str
    met: bool


def at_least(claim: str, measured: Measure, limit: float) -> Requirement:
    """By its median."""
    return Requirement(f"{claim}: {limit:g}", str(measured), measured.median >= limit)


def at_most(claim: str, measured: Measure, limit: float) -> Requirement:
    """By its median."""
    return Requirement(f"{claim}: {limit:g}", str(measured), measured.median <= limit)


@dataclass(frozen=True, slots=True)
class Table:
    """``method`` says how it was measured; the first column names what a row measured."""

    title: str
    method: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    requirements: Sequence[Requirement] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "method": self.method,
            "columns": list(self.columns),
            "rows": [
                [asdict(cell) if isinstance(cell, Measure) else cell for cell in row] for row in self.rows
            ],
            "requirements": [asdict(each) for each in self.requirements],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Table":
        return cls(
            title=stored["title"],
            method=stored["method"],
            columns=stored["columns"],
            rows=[
                [Measure(**cell) if isinstance(cell, dict) else cell for cell in row]
                for row in stored["rows"]
            ],
            requirements=[Requirement(**each) for each in stored["requirements"]],
        )


def as_text(table: Table) -> str:
    """The table for a terminal, columns aligned."""
    lines = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    verdicts = [f"{_verdict(each)}: {each.claim} ({each.measured})" for each in table.requirements]
    return "\n".join(["", table.title, "=" * len(table.title), *shown, *verdicts])


def as_markdown(table: Table) -> str:
    lines = [
        f"### {table.title}",
        "",
        table.method,
        "",
        _row(table.columns),
        _row(["---"] * len(table.columns)),
        *(_row([str(cell) for cell in row]) for row in table.rows),
    ]
    if table.requirements:
        lines += ["", *(f"- {each.claim}: {each.measured}, {_verdict(each)}." for each in table.requirements)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _verdict(requirement: Requirement) -> str:
    return "met" if requirement.met else "NOT MET"
