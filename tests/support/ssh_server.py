"""An SSH server that forwards, as a process of its own: started, killed, frozen and started again on the same port.

It lets one user in, with one key, and knows the tests' own machine as ``DATABASE_HOST``, which no name service does.
"""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncssh

ROOT = Path(__file__).parents[2]
USER = "tunnel"
DATABASE_HOST = "database.internal"
_FORBIDDEN_HOST = "forbidden.internal"
_STARTS_WITHIN = 30.0


class SshServer:
    """``key`` is the user's, ``known_hosts`` says what the server's own key is; ``stop`` it."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.key = new_key(folder / "user")
        self.host_key = new_key(folder / "host")
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {_public(self.host_key)}")

    def start(self) -> "SshServer":
        assert self._process is None
        arguments = [str(self.port), str(self.host_key), str(self.key.with_suffix(".pub"))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ssh_server", *arguments],
            cwd=ROOT,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self._wait_until_ready()
        return self

    def kill(self) -> None:
        """As by kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It goes on accepting connections (the kernel does) and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def change_host_key(self) -> None:
        """From the next start on."""
        self.host_key = new_key(self._folder / "other_host")

    @property
    def fingerprint(self) -> str:
        return asyncssh.read_private_key(self.host_key).get_fingerprint()

    def _end(self, by: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(by)
        self._process.wait(_STARTS_WITHIN)
        self._process = None

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the SSH test server ended with {self._process.returncode}")
            try:
                with socket.create_connection((self.host, self.port), timeout=2) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the SSH test server did not answer within {_STARTS_WITHIN} s")


def new_key(path: Path, *, passphrase: str | None = None, algorithm: str = "ssh-ed25519") -> Path:
    """A private key at this path, its public one beside it."""
    key = asyncssh.generate_private_key(algorithm)
    key.write_private_key(path, "pkcs8-pem", passphrase=passphrase)
    key.write_public_key(path.with_suffix(".pub"))
    return path


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Visitor(asyncssh.SSHServer):
    def __init__(self, allowed: asyncssh.SSHKey) -> None:
        self._allowed = allowed
        self._connection: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key == self._allowed

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        if dest_host == _FORBIDDEN_HOST:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not this one")
        if dest_host == DATABASE_HOST:
            return self._connection.forward_connection("127.0.0.1", dest_port)
        return True


async def _serve(port: int, host_key: str, allowed: str) -> None:
    key = asyncssh.read_public_key(allowed)
    await asyncssh.listen(
        "127.0.0.1", port, server_host_keys=[host_key], server_factory=lambda: _Visitor(key)
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
