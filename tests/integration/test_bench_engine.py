from bench import engine_rates
from bench.context import Context
from bench.parts import engine
from bench.tables import as_text


def test_the_engine_is_measured_line_by_line_and_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_rates, "HUEY_PYTHON", tmp_path / "absent")

    table = engine.run(Context(tmp_path, tmp_path, quick=True))

    in_memory = [row for row in table.rows if str(row[0]).endswith(engine.IN_MEMORY)]
    assert len(in_memory) == (2 if engine.MEMORY.is_dir() else 0)
    assert len(table.rows) == len(table.requirements) == 7 + len(in_memory)
    assert engine.NOT_INSTALLED in as_text(table)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
