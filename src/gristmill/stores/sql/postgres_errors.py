"""What the errors of PostgreSQL mean: a wrong setting, an outage, or a bug of ours, which stays as it is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError

from gristmill.ports.errors import (
    AccessDeniedError,
    ConfigurationError,
    GristmillError,
    StoreUnavailableError,
)
from gristmill.stores.sql.dialects import POSTGRESQL

_LATER = "Try again once it is back; nothing that was acknowledged is lost."

# SQLSTATEs that are an outage, or their classes, and what to do about each.
_OUTAGES = {
    "08": f"Check that the server runs and can be reached. {_LATER}",
    "25006": "It takes no writes: it is a standby or set to read-only. Point POSTGRESQL_URL at the primary.",
    "25P03": _LATER,
    "53100": "Free space on the disk of the server and run the same command again.",
    "53200": "The server is out of memory. Give it more, or lower its work_mem, and run the same command again.",
    "53300": "Raise max_connections of the server, or run fewer workers, and run the same command again.",
    "53": _LATER,
    "55P03": _LATER,
    "57014": "The server was too slow, or locks were held for too long. Run the same command again.",
    "57P": _LATER,
    "58030": "The disk of the server fails. Look at the server's log.",
    "40001": _LATER,
    "40P01": _LATER,
}
_REFUSALS = {
    "28": "Correct the user and password in POSTGRESQL_URL.",
    "3D000": "Create that database, or correct its name in POSTGRESQL_URL.",
    "3F000": "Create that schema, or correct search_path in POSTGRESQL_URL.",
    "42501": "Let the user own the database, or grant it CREATE on the database and on its schema.",
}
_ACCESS = {"28", "42501"}

# libpq gives no SQLSTATE with a connection that was refused, only what the server said.
_REFUSED_CONNECTIONS = {
    r"password authentication failed|no password supplied|role \".*\" does not exist|authentication failed": "28",
    r"no pg_hba\.conf entry|permission denied for database": "42501",
    r"database \".*\" does not exist": "3D000",
    r"too many (clients|connections)|remaining connection slots": "53300",
    # A server that dies ends a connection over TLS with an SSL error too: that is an outage.
    r"certificate|does not support SSL|SSL error: (?!unexpected eof)": "SSL",
}
_SSL = "Correct sslmode and the certificates in POSTGRESQL_URL, or switch TLS on at the server."
_UNKNOWN_HOST = re.compile(
    r"could not translate host name|Name or service not known|failed to resolve host", re.IGNORECASE
)
# What libpq asks the reader is said by our advice.
_QUESTION = re.compile(r" Is the server running (locally|on that host)[^?]*\?$")


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Turn what PostgreSQL reports into our errors; any other error is a bug and stays as it is.

    ``server`` is its address without the password.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        ours = _meaning(server, cause) if isinstance(cause, psycopg.Error) else None
        if ours is None:
            raise
        raise ours from error


def _meaning(server: str, error: psycopg.Error) -> GristmillError | None:
    state, reason = error.sqlstate, _reason(error)
    if state is None:
        is_outage = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return _without_state(server, reason) if is_outage else None
    for key in (state, state[:3], state[:2]):
        if key in _REFUSALS:
            return _refusal(key, server, reason)
        if key in _OUTAGES:
            return StoreUnavailableError(POSTGRESQL, f"{server}: {reason}", _OUTAGES[key])
    return None


def _without_state(server: str, reason: str) -> GristmillError:
    for said, key in _REFUSED_CONNECTIONS.items():
        if re.search(said, reason):
            if key in _OUTAGES:
                return StoreUnavailableError(POSTGRESQL, f"{server}: {reason}", _OUTAGES[key])
            return _refusal(key, server, reason)
    if _UNKNOWN_HOST.search(reason):
        advice = "Correct the host in POSTGRESQL_URL, or mend the name service."
        return StoreUnavailableError(POSTGRESQL, f"{server}: {reason}", advice)
    return StoreUnavailableError(POSTGRESQL, f"{server}: {reason}", _OUTAGES["08"])


def _refusal(key: str, server: str, reason: str) -> ConfigurationError:
    kind = AccessDeniedError if key in _ACCESS else ConfigurationError
    return kind(f"PostgreSQL at {server} refuses ({reason}). {_REFUSALS.get(key, _SSL)}")


def _reason(error: psycopg.Error) -> str:
    """In one line, without a full stop."""
    said = _QUESTION.sub("", " ".join(str(error).split()))
    return said.rstrip(".") or type(error).__name__
