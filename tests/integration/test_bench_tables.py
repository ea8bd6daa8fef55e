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
