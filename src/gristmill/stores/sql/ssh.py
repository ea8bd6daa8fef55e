"""One SSH connection that forwards a local port; what goes wrong with it, as our errors.

The key of the SSH server is always checked against a known_hosts file; nothing of the user's own SSH configuration
is read, and no agent is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from gristmill.ports.errors import (
    AccessDeniedError,
    ConfigurationError,
    GristmillError,
    StoreUnavailableError,
)
from gristmill.stores.sql.dialects import POSTGRESQL

PORT = 22
CONNECT_SECONDS = 10.0
_UNANSWERED_KEEPALIVES = 2
_HOST_KEY_ALGORITHMS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
_LATER = "Try again once it is back; nothing that was acknowledged is lost."


@dataclass(frozen=True, slots=True)
class SshOptions:
    """``silent_seconds``: an SSH server that answers nothing for about so long is given up."""

    host: str
    user: str
    key: Path
    known_hosts: Path
    port: int = PORT
    connect_seconds: float = CONNECT_SECONDS
    silent_seconds: float = 30.0

    def __str__(self) -> str:
        return f"SSH server {self.user}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """Host and port as the SSH server sees them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Forwarding:
    """What is sent to ``port`` on 127.0.0.1 goes to the target, for as long as the connection stands."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, port: int, options: SshOptions, target: Target
    ) -> None:
        self.port = port
        self._connection = connection
        self._options = options
        self._target = target

    @classmethod
    async def open(cls, options: SshOptions, target: Target) -> "Forwarding":
        """Raises ConfigurationError for keys, known_hosts, users and host keys; StoreUnavailableError for an outage."""
        connection = await _connect(options)
        listener = await connection.forward_local_port("127.0.0.1", 0, target.host, target.port)
        return cls(connection, listener.get_port(), options, target)

    async def lost(self) -> None:
        """Returns once the SSH connection has ended."""
        await self._connection.wait_closed()

    def close(self) -> None:
        """At once, whether the SSH server answers or not."""
        self._connection.abort()

    async def check_target(self) -> None:
        """Raises StoreUnavailableError or ConfigurationError if the SSH server cannot, or may not, reach the target."""
        try:
            _, writer = await self._connection.open_connection(self._target.host, self._target.port)
        except asyncssh.ChannelOpenError as error:
            raise _unreachable(error, self._options, self._target) from error
        writer.close()


async def _connect(options: SshOptions) -> asyncssh.SSHClientConnection:
    key, known = _private_key(options.key), _known_hosts(options.known_hosts)
    client = _Client()
    try:
        return await asyncssh.connect(
            options.host,
            options.port,
            username=options.user,
            client_keys=[key],
            known_hosts=known,
            server_host_key_algs=_algorithms(_expected(known, options)),
            client_factory=lambda: client,
            preferred_auth=["publickey"],
            agent_path=None,
            config=None,
            connect_timeout=options.connect_seconds,
            keepalive_interval=options.silent_seconds / (_UNANSWERED_KEEPALIVES + 1),
            keepalive_count_max=_UNANSWERED_KEEPALIVES,
        )
    except (asyncssh.Error, OSError) as error:
        raise _meaning(error, options, known, client.seen) from error


class _Client(asyncssh.SSHClient):
    """Trusts nothing that known_hosts does not, and remembers what it was shown."""

    seen: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.seen = key
        return False


def _expected(known: asyncssh.SSHKnownHosts, options: SshOptions) -> Sequence[Sequence[Any]]:
    """What is known of the server: its keys, the authorities that may sign them, and more."""
    return known.match(options.host, "", None if options.port == PORT else options.port)


def _algorithms(expected: Sequence[Sequence[Any]]) -> Sequence[str]:
    """Those of the keys we know first, then the others, so that a key of another kind is seen, named and refused."""
    keys, authorities, *_ = expected
    spoken = {each.decode() for key in keys for each in key.sig_algorithms}
    known = [each for each in _HOST_KEY_ALGORITHMS if each in spoken]
    if authorities or not known:
        return ()  # As asyncssh chooses.
    return list(dict.fromkeys([*known, *_HOST_KEY_ALGORITHMS]))


def _private_key(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path)
    except OSError as error:
        raise ConfigurationError(
            f"The key {path} of the SSH tunnel cannot be read ({error.strerror}). Correct SSH_TUNNEL_KEY or its "
            "permissions."
        ) from error
    except asyncssh.KeyImportError as error:
        if "assphrase" in str(error):
            raise ConfigurationError(
                f"The key {path} of the SSH tunnel has a passphrase, which nobody is there to type. Make one without "
                "for this use alone (ssh-keygen -t ed25519 -N '' -f FILE), let the SSH server accept it, and name it "
                "in SSH_TUNNEL_KEY."
            ) from error
        raise ConfigurationError(
            f"{path} is no private key that SSH can use ({error}). Correct SSH_TUNNEL_KEY."
        ) from error


def _known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(path))
    except OSError as error:
        raise ConfigurationError(
            f"The file {path} with the keys of known SSH servers cannot be read ({error.strerror}). Correct "
            "SSH_TUNNEL_KNOWN_HOSTS, or make it with: ssh-keyscan -p PORT HOST >> FILE"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no known_hosts file ({error}). Correct that line.") from error


def _meaning(
    error: Exception, options: SshOptions, known: asyncssh.SSHKnownHosts, seen: asyncssh.SSHKey | None
) -> GristmillError:
    refused = partial(_refused, options)
    match error:
        case asyncssh.HostKeyNotVerifiable() if seen is not None:
            return _untrusted(options, known, seen)
        case asyncssh.HostKeyNotVerifiable() | asyncssh.KeyExchangeFailed():
            return refused(
                error, f"Compare its key with what {options.known_hosts} says of it; nothing was sent to it."
            )
        case asyncssh.PermissionDenied():
            return AccessDeniedError(
                f"{options} does not let us in with the key {options.key} ({error.reason}). Correct SSH_TUNNEL_USER "
                "and SSH_TUNNEL_KEY, or let the server accept that key."
            )
        case asyncssh.ProtocolError() | asyncssh.ProtocolNotSupported():
            return refused(error, "Correct SSH_TUNNEL_HOST and SSH_TUNNEL_PORT.")
    said = str(error) or f"no answer within {options.connect_seconds:g} s"
    advice = f"Check that the SSH server runs and can be reached. {_LATER}"
    return StoreUnavailableError(POSTGRESQL, f"the tunnel through {options}: {said}", advice)


def _refused(options: SshOptions, error: Exception, advice: str) -> ConfigurationError:
    return ConfigurationError(f"There is no tunnel through {options}: {error}. {advice}")


def _untrusted(
    options: SshOptions, known: asyncssh.SSHKnownHosts, seen: asyncssh.SSHKey
) -> ConfigurationError:
    name = options.host if options.port == PORT else f"[{options.host}]:{options.port}"
    key = f"{seen.get_algorithm()} key {seen.get_fingerprint()}"
    add = f"ssh-keyscan -p {options.port} {options.host} >> {options.known_hosts}"
    if any(_expected(known, options)):
        return ConfigurationError(
            f"{options} shows another key than before ({key}), so nothing was sent to it: it was set up anew, or somebody "
            f"is between. Ask who runs it. If that is its key: ssh-keygen -R '{name}' -f {options.known_hosts} && {add}"
        )
    return ConfigurationError(
        f"{options} is not known: it shows the {key}, and {options.known_hosts} has none of it. Compare that with what "
        f"who runs it says. If it is the same: {add}"
    )


def _unreachable(error: asyncssh.ChannelOpenError, options: SshOptions, target: Target) -> GristmillError:
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return ConfigurationError(
            f"{options} may not forward to {target} ({error.reason}). Let it (AllowTcpForwarding, PermitOpen), or "
            "correct host and port in POSTGRESQL_URL."
        )
    return StoreUnavailableError(
        POSTGRESQL,
        f"{options} cannot reach {target}: {error.reason}",
        f"Check that the server runs, and that host and port in POSTGRESQL_URL are as the SSH server sees them. {_LATER}",
    )
