from bench.context import Context
from bench.parts import ingest


def test_an_ingest_is_measured_beside_embedding_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "CASES", (("wordllama", 20, 1, 0.5),))

    table = ingest.run(Context(tmp_path, tmp_path, quick=True, repeats=1))

    assert len(table.rows) == len(table.requirements) == 2
    assert list((tmp_path / "ingest").glob("home-*")) == []
