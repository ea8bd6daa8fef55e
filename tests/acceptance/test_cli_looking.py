"""The commands that only look, on one small collection; piped, closed and without a terminal."""

import pytest

from tests.support.shell import Shell

PARAGRAPH = "The copper kettle stands on the lower shelf of the depot. "


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    root = tmp_path_factory.mktemp("looking")
    files = root / ("a rather long folder name " * 5).strip()
    files.mkdir()
    (files / "kettle.md").write_text("# Kitchen\n\n" + PARAGRAPH * 3)
    (files / "saddle.txt").write_text("A saddle hangs in the barn, beside a lantern.")
    (files / "чайник.txt").write_text("Медный чайник стоит на нижней полке склада.")
    shell = Shell(root / "home")
    shell.json("ingest", str(files), "--meta", "shop=north")
    return shell


def test_search_shows_where_each_passage_is(shell):
    ran = shell.run("search", "kettles", "--type", "text")
    assert ran.code == 0
    assert ran.stdout.startswith("1. Kitchen  /")
    assert "characters " in ran.stdout
    assert "copper kettle" in ran.stdout
    assert "\x1b" not in ran.stdout


def test_search_json_says_what_served_it(shell):
    found = shell.json("search", "чайники", "--limit", "1", "--filter", "shop=north")
    assert (found["query"], found["type"], found["degraded"], found["stale"]) == (
        "чайники",
        "hybrid",
        False,
        False,
    )
    assert found["served_by"] == "sqlite"
    assert found["results"][0]["source"].endswith("/чайник.txt")
    assert found["results"][0].keys() >= {"document_id", "chunk_id", "source", "score", "text"}


def test_filter_that_nothing_matches_finds_nothing(shell):
    ran = shell.run("search", "kettle", "--type", "text", "--filter", "shop=south")
    assert (ran.code, "Nothing was found" in ran.stdout) == (0, True)


def test_search_for_a_word_that_nothing_has_says_what_it_looked_for_instead(shell):
    ran = shell.run("search", "ketltes", "--type", "text")
    assert "Looked for instead: kettles" in ran.stderr
    assert "copper kettle" in ran.stdout
    assert shell.json("search", "ketltes", "--type", "text")["instead"] == ["kettles"]


def test_documents_come_in_pages_and_whole_paths_reach_a_pipe(shell):
    first = shell.json("documents", "list", "--limit", "2")
    rest = shell.look("documents", "list", "--limit", "2", "--after", first["next"])
    assert [len(first["documents"]), len(rest["documents"]), rest["next"]] == [2, 1, None]
    text = shell.run("documents", "list", COLUMNS="80").stdout
    assert all(each["source"] in text for each in first["documents"] + rest["documents"])


def test_document_shows_its_passages(shell):
    document = shell.look("documents", "list", "--collection", "default")["documents"][0]
    found = shell.json("documents", "show", document["document_id"])
    assert len(found["passages"]) == found["chunks"]
    assert "copper kettle" in shell.run("documents", "show", document["document_id"]).stdout


def test_batches_and_stats_show_what_was_ingested(shell):
    batches = shell.json("batches", "list")
    assert [batch["status"] for batch in batches["batches"]] == ["completed"]
    assert batches["batches"][0]["batch_id"] in shell.run("batches", "list").stdout
    stats = shell.json("stats", "--since", "1d")
    assert (stats["completed"], stats["collections"][0]["documents"]) == (3, 3)
    assert "default" in shell.run("stats").stdout


def test_doctor_finds_nothing_in_good_health(shell):
    assert shell.json("doctor") == {"problems": [], "next": None}
    assert shell.run("doctor").stdout == "No problem was found.\n"


def test_doctor_names_stale_documents_and_how_to_renew_them(shell):
    ran = shell.run("doctor", "--json", GRISTMILL_CHUNK_SIZE="500")
    assert ran.code == 1
    assert ran.json["problems"][0]["what"].startswith("3 documents were made by another")
    assert ran.json["problems"][0]["command"] == "gristmill ingest PATH --refresh"


def test_a_database_that_is_none_is_said_in_a_sentence(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "gristmill.db").write_text("This is a shopping list and no database at all.\n" * 30)
    failed = shell.run("batches", "list")
    assert (failed.code, failed.stderr.count("\n")) == (1, 1)
    assert "is not an SQLite database" in failed.stderr
    assert shell.json("doctor", code=1)["problems"][0]["command"].startswith("mv ")


def test_settings_are_shown_and_checked(shell):
    found = {each["name"]: each for each in shell.json("config", "show")["settings"]}
    assert found["workers"]["origin"] == "environment GRISTMILL_WORKERS"
    assert shell.run("config", "check").stdout.startswith("The settings are valid.")


def test_reader_that_leaves_is_no_error(shell):
    listing = shell.start("documents", "list")
    assert listing.stdout
    listing.stdout.close()
    assert listing.stderr
    complaint = listing.stderr.read()
    listing.stderr.close()
    assert listing.stdin
    listing.stdin.close()
    assert (listing.wait(timeout=60), complaint) == (141, b"")


def test_output_that_cannot_show_a_name_escapes_it(shell):
    ran = shell.run("search", "чайник", "--type", "text", PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert "\\u0447" in ran.stdout
    found = shell.run("search", "чайник", "--type", "text", "--json", PYTHONIOENCODING="ascii")
    assert found.json["query"] == "чайник"


def test_terminal_gets_colours_only_if_it_wants_them(shell):
    command = ("search", "kettle", "--type", "text", "--limit", "1")
    assert "\x1b[1;33mkettle" in shell.run_in_terminal(*command).stdout
    plain = shell.run_in_terminal(*command, NO_COLOR="1").stdout
    assert "\x1b[1mkettle" in plain
    assert "33m" not in plain
