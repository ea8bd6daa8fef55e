"""Which databases the settings choose, and which of two is preferred; none of them is opened."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gristmill import databases, settings
from gristmill.ports.errors import ConfigurationError
from gristmill.stores.failover import FailoverDatabase

POSTGRESQL = "postgresql://me:secret@db.example.org:5432/mill"
QDRANT = "http://qdrant.example.org:6333"
URLS = {"POSTGRESQL_URL": POSTGRESQL, "QDRANT_URL": QDRANT}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in settings.UNPREFIXED:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"GRISTMILL_{name.upper()}", raising=False)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("variables", "chosen"),
    [
        ({}, ("sqlite",)),
        ({"POSTGRESQL_URL": POSTGRESQL}, ("postgresql",)),
        ({"QDRANT_URL": QDRANT}, ("qdrant",)),
        ({"QDRANT_URL": QDRANT, "PREFERRED_DATABASE": "postgresql"}, ("qdrant",)),
        (URLS, ("postgresql", "qdrant")),
        (URLS | {"PREFERRED_DATABASE": "qdrant"}, ("qdrant", "postgresql")),
        (URLS | {"QDRANT_ONLY_MODE": "true"}, ("qdrant",)),
        (URLS | {"ENABLE_FALLBACK_DATABASES": "false"}, ("postgresql",)),
        (URLS | {"ENABLE_FALLBACK_DATABASES": "false", "PREFERRED_DATABASE": "qdrant"}, ("qdrant",)),
        (URLS | {"ENABLE_FALLBACK_DATABASES": "false", "GRISTMILL_ENABLE_FALLBACK_DATABASES": "true"},
         ("postgresql", "qdrant")),
    ],
)  # fmt: skip
def test_databases_follow_from_what_is_set(monkeypatch, variables, chosen):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = settings.load()
    assert found.databases == chosen
    assert settings.unknown_variables() == []
    made = [each.name for each in databases.each(databases.Needs(found)).databases]
    assert tuple(made) == chosen


def test_postgresql_url_beside_qdrant_only_mode_is_ignored_and_that_is_said_once(monkeypatch):
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QDRANT_ONLY_MODE", "true")
    with capture_logs() as logs:
        made = databases.database(databases.Needs(settings.load()))
    assert made.name == "qdrant"
    assert [log["event"] for log in logs] == ["postgresql_url_not_used"]
    assert "secret" not in str(logs)


def test_commands_for_two_databases_say_what_is_missing():
    with pytest.raises(ConfigurationError, match=r"one database \(sqlite\).*POSTGRESQL_URL and QDRANT_URL"):
        databases.pair(databases.Needs(settings.load()))


def test_two_databases_fail_over_to_each_other_with_the_time_outs_set(monkeypatch):
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRISTMILL_FAILOVER_TIMEOUT_SECONDS", "7")
    made = databases.database(databases.Needs(settings.load()))
    assert isinstance(made, FailoverDatabase)
    assert made.name == "postgresql+qdrant"
    assert made._options.call_timeout == 7


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql", "There is no POSTGRESQL_URL"),
        ("qdrant", "There is no QDRANT_URL"),
        ("sqlite", "There is no database"),
        ("nowhere/gristmill.db", "There is no database"),
        ("sqlite://host/path", "names no file"),
        ("", "names no file"),
        ("postgresql://me:secret@host", "must name a host and a database"),
        ("ftp://me:secret@host/x", "no address of a database"),
    ],
)
def test_address_that_cannot_work_is_refused_and_shows_no_secret(address, said):
    with pytest.raises(ConfigurationError, match=said) as refused:
        databases.at(address, databases.Needs(settings.load()), create=False)
    assert "secret" not in str(refused.value)


def test_key_of_the_settings_is_sent_to_no_other_server(monkeypatch):
    monkeypatch.setenv("QDRANT_URL", QDRANT)
    monkeypatch.setenv("QDRANT_API_KEY", "of the settings")
    needs = databases.Needs(settings.load())
    keys = {}
    for address in ("qdrant", "http://other:6333", "https://:given@other:6333"):
        options = databases.at(address, needs, create=True)._connection.options
        assert "given" not in options.url
        keys[address] = options.api_key and options.api_key.get_secret_value()
    assert keys == {
        "qdrant": "of the settings",
        "http://other:6333": None,
        "https://:given@other:6333": "given",
    }
