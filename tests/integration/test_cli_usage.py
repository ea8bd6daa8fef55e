"""The command line in this process: help, wrong usage, and how each kind of error ends."""

import json
import typing

import pytest
import structlog
import typer

from gristmill.cli import arguments, batches, endings, exit_codes, main, output
from gristmill.cli.exit_codes import ExitCode
from gristmill.cli.running import Interruption
from gristmill.domain.batch import BatchStatus
from gristmill.domain.record import RecordStatus
from gristmill.ports.errors import ConfigurationError, StoreUnavailableError

SOME_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
WRONG = [
    ("ingest",),
    ("ingest", ""),
    ("ingest", ".", "--meta", "shop"),
    ("ingest", ".", "--meta", "=north"),
    ("ingest", ".", "--batch-id", "12"),
    ("ingest", ".", "--max-error-rate", "101"),
    ("ingest", ".", "--priority", "high"),
    ("ingest", ".", "--collection", ""),
    ("ingest", ".", "--collection", "x" * 201),
    ("ingest", ".", "--name", "bad\udcff"),
    ("ingest", "no/such/folder"),
    ("search",),
    ("search", " "),
    ("search", "bad\udcff"),
    ("search", "x" * 10_001),
    ("search", "kettle", "--type", "magic"),
    ("search", "kettle", "--limit", "0"),
    ("search", "kettle", "--filter", "shop"),
    ("search", "kettle", "--collection", "nowhere"),
    ("batches", "show", "12"),
    ("batches", "show", SOME_ID),
    ("batches", "watch", SOME_ID),
    ("batches", "retry", SOME_ID, "--category", "bad luck"),
    ("batches", "cancel", SOME_ID),
    ("batches", "seal", SOME_ID),
    ("batches", "results", SOME_ID, "--status", "lost"),
    ("batches", "list", "--after", "not a cursor"),
    ("batches", "cleanup", "--older-than", "3y"),
    ("batches", "cleanup", "--older-than", "999999999w"),
    ("documents", "list", "--after", "not a cursor"),
    ("documents", "list", "--collection", "nowhere"),
    ("documents", "show", SOME_ID),
    ("documents", "delete", SOME_ID, "--yes"),
    ("stats", "--since", "yesterday"),
    ("worker", "run-twice"),
    ("brew",),
    ("stats", "--louder"),
]


@pytest.fixture(autouse=True)
def _installation(tmp_path, monkeypatch):
    for name, value in {"HOME": "home", "EMBEDDER": "wordllama"}.items():
        monkeypatch.setenv(f"GRISTMILL_{name}", str(tmp_path / value) if name == "HOME" else value)
    monkeypatch.chdir(tmp_path)
    yield
    structlog.reset_defaults()


def run(*words: str) -> int:
    return main.call(list(words))


def leaves(command, path=()):
    """Every command with the words that call it."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(main.app)))


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_ends_with_2_and_a_sentence(words, capsys):
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert 20 < len(shown.err) < 500
    assert "Value error" not in shown.err


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_with_json_is_one_document(words, capsys):
    assert run(*words, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"].keys() == {"kind", "message"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_says_what_it_does(path):
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def test_every_command_has_json():
    for path, command in COMMANDS.items():
        if not getattr(command, "commands", None):
            assert any("--json" in parameter.opts for parameter in command.params), path


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_opens_nothing(path, tmp_path, capsys):
    assert run(*path, "--help") == 0
    assert "Usage: " in capsys.readouterr().out
    assert not (tmp_path / "home").exists()


def test_version_is_printed(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("gristmill 0.")


def test_settings_that_cannot_work_are_wrong_usage(monkeypatch, capsys):
    monkeypatch.setenv("GRISTMILL_CHUNK_OVERLAP", "900000")
    assert run("config", "check") == 2
    assert "'chunk_overlap' (environment GRISTMILL_CHUNK_OVERLAP)" in capsys.readouterr().err
    monkeypatch.setenv("GRISTMILL_CHUNK_OVERLAP", "5000")
    assert run("stats") == 2
    assert "chunk_overlap (5000) must be below chunk_size" in capsys.readouterr().err


def test_unknown_setting_in_a_file_names_the_file_and_what_there_is(tmp_path, capsys):
    (tmp_path / "gristmill.toml").write_text("chunk_sise = 900\n")
    assert run("stats") == 2
    shown = capsys.readouterr().err
    assert "'chunk_sise' in gristmill.toml" in shown
    assert "chunk_size" in shown


def test_config_shows_each_value_with_its_origin(tmp_path, monkeypatch, capsys):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "gristmill.toml").write_text("chunk_size = 900\n")
    monkeypatch.setenv("GRISTMILL_WORKERS", "1")
    assert run("--home", str(tmp_path / "else"), "config", "show", "--json") == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["settings"]}
    assert found["home"]["origin"] == "flag"
    assert (found["chunk_size"]["value"], found["chunk_size"]["origin"]) == (
        900,
        str(tmp_path / "else" / "gristmill.toml"),
    )
    assert found["workers"]["origin"] == "environment GRISTMILL_WORKERS"
    assert found["max_retries"]["origin"] == "default"
    assert run("config", "show") == 0
    assert "chunk_size" in capsys.readouterr().out


def test_variable_that_is_no_setting_is_pointed_out(monkeypatch, capsys):
    monkeypatch.setenv("GRISTMILL_COLOUR", "green")
    assert run("config", "check", "--json") == 0
    assert "GRISTMILL_COLOUR" in json.loads(capsys.readouterr().out)["unknown_variables"]


def test_home_that_is_a_file_is_a_failure_that_doctor_explains(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--home", str(tmp_path / "file"), "stats") == 1
    assert "Check that" in capsys.readouterr().err
    assert run("--home", str(tmp_path / "file"), "doctor") == 1
    assert "is a file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (StoreUnavailableError("sqlite", "the disk is full", "Free space."), 4, "store_unavailable"),
        (ConfigurationError("It is no database."), 1, "configuration"),
        (Interruption(15), 143, "interrupted"),
        (ZeroDivisionError("division by zero"), 1, "internal"),
        (ExceptionGroup("lanes", [StoreUnavailableError("sqlite", "busy", "Wait.")]), 4, "store_unavailable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_error_ends_with_its_code_and_kind(error, code, kind, capsys):
    def fail():
        raise error

    assert endings.finish(fail, as_json=True) == code
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == kind
    assert endings.finish(fail, as_json=False) == code
    shown = capsys.readouterr()
    assert (shown.out, "Traceback" in shown.err) == ("", False)


def test_unexpected_error_says_what_to_do_and_debug_shows_its_traceback(monkeypatch, capsys):
    assert endings.finish(lambda: 1 // 0, as_json=False) == 1
    assert "gristmill doctor" in capsys.readouterr().err
    monkeypatch.setenv("GRISTMILL_LOG_LEVEL", "debug")
    endings.finish(lambda: 1 // 0, as_json=False)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], ExitCode.OK),
        (["completed"], ExitCode.OK),
        (["completed_with_errors"], ExitCode.SOME_FAILED),
        (["error", "error"], ExitCode.FAILED),
        (["cancelled"], ExitCode.CANCELLED),
        (["completed", "error"], ExitCode.SOME_FAILED),
    ],
)
def test_exit_code_of_batches(statuses, code):
    assert exit_codes.of_batches([BatchStatus(status) for status in statuses]) is code


def test_every_status_has_an_exit_code():
    for status in BatchStatus:
        assert exit_codes.of_batches([status]) in ExitCode


def test_states_to_choose_from_are_those_of_records():
    choices = typing.get_args(typing.get_args(typing.get_type_hints(batches.results)["status"])[0])
    assert choices == tuple(status.value for status in RecordStatus)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Счёт 🦊 \u200d", "plain Счёт 🦊 \u200d"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("bad\udcff", "bad\\udcff"),
    ],
)
def test_text_cannot_disturb_the_terminal(text, shown):
    assert output.safe(text) == shown


def test_printed_command_survives_a_shell():
    assert output.command(["gristmill", "a b", "it's", "x\ny\udcff"]) == (
        "gristmill 'a b' 'it'\"'\"'s' $'x\\x0ay\\xff'"
    )


def test_pairs_of_one_key_are_alternatives():
    pairs = [arguments.pair(text) for text in ("shop=north", "shop=south", "year = 1=2")]
    assert arguments.grouped(pairs) == {"shop": ["north", "south"], "year": [" 1=2"]}
