from bench.context import Context
from bench.parts import servers


def test_postgresql_and_qdrant_are_measured_line_by_line_and_leave_no_files(tmp_path):
    table = servers.run(Context(tmp_path, tmp_path, quick=True))

    assert len(table.rows) == 8
    assert len(table.requirements) == 7
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
