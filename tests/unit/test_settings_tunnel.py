"""The settings of the SSH tunnel: also read without our prefix, and refused when they cannot work."""

from pathlib import Path

import pytest

from gristmill import settings
from gristmill.ports.errors import ConfigurationError

WHOLE = {
    "POSTGRESQL_URL": "postgresql://me:secret@db.internal/name",
    "ENABLE_SSH_TUNNEL": "true",
    "SSH_TUNNEL_HOST": "bastion",
    "SSH_TUNNEL_PORT": "2222",
    "SSH_TUNNEL_USER": "me",
    "SSH_TUNNEL_KEY": "~/key",
    "SSH_TUNNEL_KNOWN_HOSTS": "~/hosts",
}


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, value in WHOLE.items():
        monkeypatch.delenv(f"GRISTMILL_{name}", raising=False)
        monkeypatch.setenv(name, value)


def test_they_are_read_with_and_without_our_prefix(monkeypatch: pytest.MonkeyPatch):
    loaded = settings.load()
    assert loaded.enable_ssh_tunnel
    assert (loaded.ssh_tunnel_host, loaded.ssh_tunnel_port, loaded.ssh_tunnel_user) == ("bastion", 2222, "me")
    assert (loaded.ssh_tunnel_key, loaded.ssh_tunnel_known_hosts) == (Path("~/key"), Path("~/hosts"))
    monkeypatch.setenv("GRISTMILL_SSH_TUNNEL_HOST", "other")
    assert settings.load().ssh_tunnel_host == "other"


def test_the_tunnel_is_off_unless_switched_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ENABLE_SSH_TUNNEL")
    monkeypatch.delenv("SSH_TUNNEL_KEY")
    assert not settings.load().enable_ssh_tunnel


@pytest.mark.parametrize("name", ["POSTGRESQL_URL", "SSH_TUNNEL_HOST", "SSH_TUNNEL_USER", "SSH_TUNNEL_KEY"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=f"these are not set: {name}"):
        settings.load()


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSH_TUNNEL_PORT", "70000")
    with pytest.raises(ConfigurationError, match="ssh_tunnel_port"):
        settings.load()
