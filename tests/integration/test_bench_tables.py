from bench import docs_page
from bench.tables import Measure, Requirement, Table, as_markdown, as_text


def table():
    return Table(
        title="Speed",
        method="Measured.",
        columns=("what", "time", "count"),
        rows=[["once", Measure.of([0.3, 0.1, 0.2], "s"), 7], ["exact", Measure.exact(0.5), 12]],
        requirements=[Requirement("fast", "0.2 s", met=True), Requirement("more", "7", met=False)],
    )


def test_measure_is_the_median_with_its_spread():
    assert str(Measure.of([3.0, 1.0, 2.0], "s")) == "2 s (1-3)"


def test_exact_measure_has_no_spread():
    assert str(Measure.exact(0.4163)) == "0.416"


def test_rate_of_the_slowest_run_is_the_lowest():
    rate = Measure.of([2.0, 1.0, 4.0], "s").per(2_000, "files/s")

    assert (rate.median, rate.low, rate.high) == (1_000, 500, 2_000)


def test_stored_table_is_read_back_the_same():
    stored = table().as_json()

    assert Table.from_json(stored).as_json() == stored
    assert as_markdown(Table.from_json(stored)) == as_markdown(table())


def test_unmet_requirement_is_shown_in_both_forms():
    assert "NOT MET: more (7)" in as_text(table())
    assert "- more: 7, NOT MET." in as_markdown(table())


def result(measured_at: str, *parts: str, cores: int = 2, load: float = 0.1) -> dict[str, object]:
    table = Table("Speed", "Counted.", ("what",), [[measured_at]], []).as_json()
    return {
        "measured_at": measured_at,
        "machine": {"cores": cores, "load_before": load, "load_after": load},
        "tables": [{"part": part} | table for part in parts],
    }


def test_page_takes_each_part_from_its_newest_run_on_the_same_machine():
    elsewhere = result("2026-01-03", "cold", cores=64)
    runs = [
        result("2026-01-01", "a", "b"),
        result("2026-01-02", "b", "c"),
        elsewhere,
        result("2026-01-04", "c"),
    ]
    found = docs_page.chosen(runs)
    assert [(each["measured_at"], [t["part"] for t in each["tables"]]) for each in found] == [
        ("2026-01-01", ["a"]),
        ("2026-01-02", ["b"]),
        ("2026-01-04", ["c"]),
    ]
    page = docs_page.render(found)
    assert "- a: measured at 2026-01-01, load 0.1 before and 0.1 after" in page
    assert "2026-01-03" not in page
