"""A server that dies ends connections over TLS with errors of TLS: an outage, and no matter of configuration."""

import ssl

import httpx
import psycopg
import pytest
from qdrant_client.http.exceptions import ResponseHandlingException

from gristmill.ports.errors import ConfigurationError, StoreUnavailableError
from gristmill.stores.qdrant.connection import Connection, QdrantOptions
from gristmill.stores.sql import postgres_errors


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("SSL connection has been closed unexpectedly", StoreUnavailableError),
        ("consuming input failed: SSL SYSCALL error: EOF detected", StoreUnavailableError),
        ("SSL error: unexpected eof while reading", StoreUnavailableError),
        ("SSL error: certificate verify failed", ConfigurationError),
        ("server does not support SSL, but SSL was required", ConfigurationError),
        ("SSL error: wrong version number", ConfigurationError),
        ('root certificate file "/root.crt" does not exist', ConfigurationError),
    ],
)
def test_postgresql(said: str, meaning: type[Exception]):
    with pytest.raises(meaning), postgres_errors.translated("postgresql://host/name"):
        raise psycopg.OperationalError(said)


@pytest.mark.parametrize(
    ("cause", "meaning"),
    [
        (ssl.SSLEOFError("unexpected eof"), StoreUnavailableError),
        (ssl.SSLZeroReturnError("closed"), StoreUnavailableError),
        (ssl.SSLError("wrong version number"), ConfigurationError),
        (ssl.SSLCertVerificationError("certificate verify failed"), ConfigurationError),
    ],
)
async def test_qdrant(cause: ssl.SSLError, meaning: type[Exception]):
    connection = Connection(QdrantOptions("https://localhost:6333"))

    with pytest.raises(meaning):
        await connection.ask(_from(cause))
    await connection.close()


async def _from(cause: ssl.SSLError):
    error = httpx.ConnectError(str(cause))
    error.__cause__ = cause
    raise ResponseHandlingException(error)
