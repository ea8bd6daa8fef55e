"""``gristmill stores`` and ``doctor`` as users run them, over two databases in memory under the names of real ones."""

import asyncio
import json
import shlex

import pytest
import structlog

from gristmill.cli import main
from gristmill.ports.clock import SystemClock
from gristmill.ports.errors import ConfigurationError
from gristmill.ports.rows import Kind
from gristmill.stores.memory import MemoryDatabase
from gristmill.stores.memory.tables import Tables
from tests.contract import documents_contract_steps as documents
from tests.contract import replication_contract_steps as steps
from tests.support.lines import LinedDatabase


@pytest.fixture
def two(monkeypatch, tmp_path):
    """The databases behind the command, which outlive it."""
    for name in ("POSTGRESQL_URL", "QDRANT_URL", "QDRANT_API_KEY", "QDRANT_ONLY_MODE"):
        monkeypatch.delenv(f"GRISTMILL_{name}", raising=False)
    monkeypatch.setenv("POSTGRESQL_URL", "postgresql://me:s3cret@localhost/mill")
    monkeypatch.setenv("QDRANT_URL", "http://:s3cret@localhost:6333")
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.setenv("GRISTMILL_EMBEDDER", "wordllama")
    monkeypatch.setenv("GRISTMILL_FAILOVER_PROBE_SECONDS", "0.5")
    clock = SystemClock()
    made = {name: LinedDatabase(MemoryDatabase(clock, name=name)) for name in ("postgresql", "qdrant")}
    kinds = {name: lambda _needs, database=database: database for name, database in made.items()}
    monkeypatch.setattr("gristmill.databases._NAMED", kinds)
    yield made
    structlog.reset_defaults()


@pytest.fixture
def run(capsys):
    def run(*arguments, code=0):
        assert main.call(list(arguments)) == code
        shown = capsys.readouterr()
        assert "s3cret" not in shown.out + shown.err
        return json.loads(shown.out) if "--json" in arguments else shown.out

    return run


def test_status_of_two_that_are_well(two, run):
    run("stores", "reconcile")
    found = run("stores", "status", "--json")
    assert [(each["name"], each["state"], each["owed_rows"]) for each in found["databases"]] == [
        ("postgresql", "serving", 0),
        ("qdrant", "standby", 0),
    ]
    assert found["acting"]["database"] == "postgresql"
    assert (found["acting"]["reason"], found["acting"]["missing"]) == ("the first start", None)
    shown = run("stores", "status")
    assert "postgresql (preferred)  serving" in shown
    assert "postgresql serves since" in shown


def test_an_outage_its_backlog_and_its_end(two, run, tmp_path):
    (tmp_path / "note.txt").write_text("The mill grinds slowly.")
    two["postgresql"].line.cut = True
    run("ingest", str(tmp_path / "note.txt"), "--no-wait")
    store, other = run("stores", "status", "--json")["databases"]
    assert (store["state"], store["problem"], other["state"]) == ("down", "the line is cut", "serving")
    assert other["owed_rows"] > 0
    shown = run("stores", "status")
    assert f"{other['owed_rows']} rows acknowledged by qdrant alone" in shown
    assert "postgresql is down: the line is cut" in run("stores", "reconcile", code=1)
    run("stores", "verify", code=4)
    assert "Database 'postgresql' is down." in run("doctor", code=1)
    two["postgresql"].line.cut = False
    # Opening brings over what is owed, before the command itself does.
    assert run("stores", "reconcile", "--json") == {
        "done": True,
        "moved": {"postgresql": other["owed_rows"], "qdrant": 0},
        "left": {"postgresql": 0, "qdrant": 0},
        "problems": {},
        "set_aside": [],
    }
    assert "Both databases hold the same." in run("stores", "verify")


async def _bring_over_the_first(source, target):
    """A catch-up that is cut short behind the batch and its first record."""
    await steps.pair(source, target)
    await steps.take_across(source, target, Kind.COLLECTION, Kind.BATCH)
    first, *_ = await steps.owed(source, Kind.RECORD)
    await steps.merge(target, first)


@pytest.mark.parametrize(
    ("way_out", "then", "completed"), [("again", 3, 3), ("seal", 1, 1), ("cancel", 1, 0)]
)
def test_records_lost_with_the_only_database_that_had_them(two, run, tmp_path, way_out, then, completed):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"Letter {name} stands on a shelf.")
    two["qdrant"].line.cut = True
    batch_id = run("ingest", str(folder), "--no-wait", "--json")["batch_id"]
    lost, kept = two["postgresql"], two["qdrant"]
    asyncio.run(_bring_over_the_first(lost.inner, kept.inner))
    lost.line.cut, kept.line.cut = True, False
    vars(lost.inner.tables).update(vars(Tables(SystemClock())))
    here = f"1 of 3 declared items of batch {batch_id} are here."
    assert {"Database 'postgresql' is down.", here} <= {
        each["what"] for each in run("doctor", "--json", code=1)["problems"]
    }
    lost.line.cut = False
    run("stores", "reconcile")
    assert "1 of 3 declared items are here." in run("batches", "show", batch_id)
    found = run("batches", "show", batch_id, "--json")
    assert (found["missing"], found["total_files"], found["batch_status"]) == (2, 3, "queued")
    again, seal = found["ways_out"]
    assert seal == f"gristmill batches seal {batch_id}"
    ways = {"again": again, "seal": seal, "cancel": f"gristmill batches cancel {batch_id}"}
    run(*shlex.split(ways[way_out])[1:])
    if way_out != "cancel":
        run("worker", "run-once")
    found = run("batches", "show", batch_id, "--json")
    assert (found["missing"], found["total_files"], found["completed_count"]) == (0, then, completed)
    assert found["batch_status"] == ("cancelled" if way_out == "cancel" else "completed")
    assert run("doctor", "--json")["problems"] == []
    assert run("stores", "verify", "--json")["count"] == 0


def test_verify_prints_what_differs_and_reconcile_all_heals_it(two, run, tmp_path, monkeypatch):
    monkeypatch.setattr("gristmill.insights.verifying.LOOK_AGAIN", (0.0,))
    (tmp_path / "note.txt").write_text("The mill grinds slowly.")
    run("ingest", str(tmp_path / "note.txt"), "--no-wait")
    two["qdrant"].inner.tables.records.clear()
    found = run("stores", "verify", "--json", code=1)
    assert (found["count"], found["compared"]["record"]) == (1, 1)
    assert found["differences"][0]["what"] == "only in postgresql"
    shown = run("stores", "verify", "--limit", "1", code=1)
    assert "note.txt" in shown
    assert "gristmill stores reconcile --all" in shown
    assert "Neither database owes the other anything." in run("stores", "reconcile", "--all")
    assert run("stores", "verify", "--json")["count"] == 0


def test_neither_answers(two, run):
    for each in two.values():
        each.line.cut = True
    assert "the line is cut" in run("stores", "status", code=4)
    error = run("stores", "reconcile", "--json", code=4)["error"]
    assert error["kind"] == "store_unavailable"
    for name in two:
        assert f"'{name}' (since before this started): the line is cut" in error["message"]
    assert error["message"].endswith("it has ended, and nothing tries it again by itself.")
    run("doctor", code=1)


def test_a_wrong_setting_of_one_stops_every_command_but_status(two, run):
    async def refuses():
        raise ConfigurationError("Qdrant refuses the API key. Set QDRANT_API_KEY.")

    two["qdrant"].inner.open = refuses
    assert "refused" in run("stores", "status")
    assert "QDRANT_API_KEY" in run("stats", "--json", code=1)["error"]["message"]
    assert "Database 'qdrant' cannot be used." in run("doctor", code=1)


async def _fill(database):
    await steps.fill(database, SystemClock().now().replace(year=2020))


def test_copy_refuses_what_it_cannot_do(two, run, tmp_path):
    for source, target, said in [
        ("postgresql", "postgresql", "same database"),
        (str(tmp_path / "absent.db"), "qdrant", "There is no database"),
        ("ftp://me:s3cret@host/x", "qdrant", "no address of a database"),
    ]:
        found = run("stores", "copy", "--from", source, "--to", target, "--json", code=1)
        assert said in found["error"]["message"]


def test_copy_says_what_was_copied(two, run):
    asyncio.run(_fill(two["postgresql"].inner))
    found = run("stores", "copy", "--from", "postgresql", "--to", "qdrant", "--json")
    assert (found["count"], found["rows"]["record"], found["rows"]["vector"]) == (0, 2, 2)
    shown = run("stores", "copy", "--from", "postgresql", "--to", "qdrant")
    assert "Copied, read back and compared: 1 worker" in shown


async def _edited_apart(two):
    one, other = (each.inner for each in two.values())
    await documents.open_papers(one)
    await steps.show(one, steps.OLD)
    await steps.pair(one, other)
    await steps.exchange(one, other)
    for side, metadata in ((one, {"by": "Ann\x1b[31m"}), (other, {"by": "Bob"})):
        await side.documents.update_metadata({steps.OLD.document_id: metadata})
    await steps.exchange(one, other)


def test_conflicts_lists_what_lost_and_where(two, run):
    assert "Nothing that was written to a document was lost" in run("stores", "conflicts")
    assert "conflicts" not in run("stores", "status")
    asyncio.run(_edited_apart(two))
    found = run("stores", "conflicts", "--json")
    (lost,) = found["conflicts"]
    assert (lost["source"], lost["database"], lost["lost"], lost["won"]) == (
        "file:///a",
        "postgresql",
        "edit",
        "edit",
    )
    assert lost["metadata"] == {"by": "Ann\x1b[31m"}
    assert (sum(found["kept"].values()), found["problems"]) == (1, {})
    shown = run("stores", "conflicts")
    assert "file:///a (papers): the edit of " in shown
    assert " in postgresql lost to the edit of " in shown
    assert "\x1b" not in shown
    assert "gristmill stores conflicts" in run("stores", "status")
    two["postgresql"].line.cut = True
    assert "postgresql is down: the line is cut" in run("stores", "conflicts")
    two["qdrant"].line.hangs = True
    assert len(run("stores", "conflicts", "--json", code=4)["problems"]) == 2


def test_copy_that_was_cut_short_is_told_of(two, run, monkeypatch):
    asyncio.run(_fill(two["postgresql"].inner))
    two["qdrant"].line.cut_after = 12
    run("stores", "copy", "--from", "postgresql", "--to", "qdrant", code=4)
    two["qdrant"].line.cut_after = None
    two["qdrant"].line.cut = False
    monkeypatch.setenv("QDRANT_ONLY_MODE", "true")
    said = "the copy from postgresql has not ended"
    assert run("stores", "status", "--json")["databases"][0]["half_copied"] == said
    assert f"qdrant holds an unfinished copy: {said}." in run("stores", "status")
    problems = {each["what"]: each["command"] for each in run("doctor", "--json", code=1)["problems"]}
    what = "Database 'qdrant' holds an unfinished copy of another one."
    assert problems[what] == "gristmill stores copy --from SOURCE --to qdrant"
    monkeypatch.delenv("QDRANT_ONLY_MODE")
    run("stores", "copy", "--from", "postgresql", "--to", "qdrant")
    monkeypatch.setenv("QDRANT_ONLY_MODE", "true")
    assert run("stores", "status", "--json")["databases"][0]["half_copied"] is None


def test_one_database_alone(run, monkeypatch, tmp_path):
    for name in ("POSTGRESQL_URL", "QDRANT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    (store,) = run("stores", "status", "--json")["databases"]
    assert (store["name"], store["state"], store["owed_rows"]) == ("sqlite", "serving", None)
    assert store["version"]
    assert "one database (sqlite)" in run("stores", "verify", "--json", code=1)["error"]["message"]
    structlog.reset_defaults()
