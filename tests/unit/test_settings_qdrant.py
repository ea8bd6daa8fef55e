"""The settings of Qdrant: where they come from, which beats which, and that the key is not shown."""

from pathlib import Path

import pytest

from gristmill import settings
from gristmill.ports.errors import ConfigurationError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("QDRANT_URL", "QDRANT_API_KEY", "QDRANT_ONLY_MODE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"GRISTMILL_{name}", raising=False)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_nothing_set_is_sqlite():
    assert settings.load().databases == ("sqlite",)


def test_variable_with_our_prefix_beats_the_plain_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_URL", "http://plain:6333")
    assert settings.load().qdrant_url == "http://plain:6333"
    assert settings.origin("qdrant_url", {}) == "environment QDRANT_URL"
    monkeypatch.setenv("GRISTMILL_QDRANT_URL", "http://ours:6333")
    assert settings.load().qdrant_url == "http://ours:6333"
    assert settings.origin("qdrant_url", {}) == "environment GRISTMILL_QDRANT_URL"
    assert settings.unknown_variables() == []


def test_variable_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "gristmill.toml").write_text('qdrant_url = "http://file:6333"\n')
    assert settings.load().qdrant_url == "http://file:6333"
    monkeypatch.setenv("QDRANT_URL", "http://plain:6333")
    assert settings.load().qdrant_url == "http://plain:6333"


def test_key_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_API_KEY", "top-secret")
    found = settings.load()
    assert found.qdrant_api_key is not None
    assert found.qdrant_api_key.get_secret_value() == "top-secret"
    assert "top-secret" not in repr(found)
    assert "top-secret" not in str(settings.values(found, {}))


def test_only_mode_needs_a_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_ONLY_MODE", "true")
    with pytest.raises(ConfigurationError, match="set QDRANT_URL"):
        settings.load()


def test_wrong_value_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_ONLY_MODE", "maybe")
    with pytest.raises(ConfigurationError, match=r"'qdrant_only_mode' \(environment QDRANT_ONLY_MODE\)"):
        settings.load()
