"""The connection to a Qdrant server, and what its errors mean.

Only no connection, no answer in time and 5xx are an outage; a refused key and a TLS mismatch are matters of
configuration; every other refusal is a mistake of ours and is raised as it came.
"""

import json
import ssl
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import SecretStr
from qdrant_client.async_qdrant_remote import AsyncQdrantRemote
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from gristmill.ports.errors import (
    AccessDeniedError,
    ConfigurationError,
    GristmillError,
    StoreUnavailableError,
)

NAME = "qdrant"

_Answer = TypeVar("_Answer")
_CONNECTIONS = 64
# The pool looks at each that is kept before every request.
_KEPT_CONNECTIONS = 8
_ERRORS = (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse, json.JSONDecodeError)
_NO_KEY = {401, 403}
_BUSY = {408, 429}


@dataclass(frozen=True, slots=True)
class QdrantOptions:
    """Where the server is. ``prefix`` begins the names of our collections; ``timeout_seconds`` are whole.

    ``ca_file``: certificates to trust instead of the system's, for an https URL.
    """

    url: str
    api_key: SecretStr | None = None
    timeout_seconds: int = 10
    prefix: str = "gristmill"
    ca_file: Path | None = None

    @property
    def shown_url(self) -> str:
        """The URL without user and password, for messages."""
        url = httpx.URL(self.url)
        return str(url.copy_with(userinfo=b"")) if url.userinfo else self.url


class Connection:
    """A pool of connections, for one event loop. Raises ConfigurationError for a URL that is none."""

    def __init__(self, options: QdrantOptions) -> None:
        self.options = options
        self.client = _client(options)

    async def ask(self, request: Awaitable[_Answer]) -> _Answer:
        """The server's answer. Raises StoreUnavailableError or ConfigurationError for what is no mistake of ours."""
        try:
            return await request
        except _ERRORS as error:
            meaning = self._meaning(error)
            if meaning is None:
                raise
            raise meaning from error

    async def close(self) -> None:
        await self.client.close()

    def _meaning(self, error: Exception) -> GristmillError | None:
        url = self.options.shown_url
        match error:
            case UnexpectedResponse(status_code=status) if status in _NO_KEY:
                return AccessDeniedError(
                    f"Qdrant at {url} refuses the API key ({status}): {_said(error)}. "
                    "Set QDRANT_API_KEY to a key that may read and write."
                )
            case UnexpectedResponse(status_code=int(status)) if status >= 500 or status in _BUSY:
                return StoreUnavailableError(
                    NAME, f"{url} answered {status}: {_said(error)}", "Look into the server's log."
                )
            case ResourceExhaustedResponse():
                return StoreUnavailableError(NAME, f"{url} limits its requests (429)", "Try again later.")
            case ResponseHandlingException(source=source):
                return self._broken(source)
            case json.JSONDecodeError():
                return self._broken(error)
            case _:
                return None

    def _broken(self, source: Exception) -> GristmillError:
        url = self.options.shown_url
        if any(_is_refused_tls(each) for each in _causes(source)):
            return ConfigurationError(
                f"No TLS connection to Qdrant at {url}: {source}. Use http:// in QDRANT_URL if the server speaks no "
                "TLS; if its certificate is your own, name its authority in qdrant_ca_file."
            )
        if isinstance(source, httpx.UnsupportedProtocol | httpx.InvalidURL):
            return ConfigurationError(f"QDRANT_URL {url!r} is no URL of a server: {source}. {_URL_EXAMPLE}")
        if isinstance(source, httpx.TimeoutException):
            waited = f"{self.options.timeout_seconds} s"
            return StoreUnavailableError(NAME, f"{url} did not answer within {waited}", "Check the server.")
        if isinstance(source, httpx.HTTPError | OSError):
            reason = str(source) or type(source).__name__
            return StoreUnavailableError(
                NAME,
                f"no connection to {url} ({reason})",
                "Check that the server runs and that QDRANT_URL names it, https:// if it speaks TLS.",
            )
        return ConfigurationError(
            f"What answers at {url} is no Qdrant server: {str(source)[:200]}. Correct QDRANT_URL."
        )


_URL_EXAMPLE = "Write it like http://localhost:6333."


def _client(options: QdrantOptions) -> AsyncQdrantRemote:
    try:
        url = httpx.URL(options.url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"QDRANT_URL {options.url!r} is no URL: {error}. {_URL_EXAMPLE}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"QDRANT_URL {options.shown_url!r} is no http or https URL. {_URL_EXAMPLE}")
    headers = {} if options.api_key is None else {"api-key": options.api_key.get_secret_value()}
    # Certificates take longer to load than a command takes to run; without TLS nobody asks for them.
    verify: ssl.SSLContext | bool = url.scheme == "https"
    if options.ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=str(options.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"The qdrant_ca_file {options.ca_file} cannot be used: {error}. Name a file of PEM certificates."
            ) from error
    # AsyncQdrantClient forwards to it after looking for texts to embed in every point, and takes 10 ms to begin.
    return AsyncQdrantRemote(
        url=options.url,
        headers=headers,
        timeout=options.timeout_seconds,
        check_compatibility=False,
        # The client keeps no connection to a local server open unless told so.
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT_CONNECTIONS),
        verify=verify,
    )


def _said(error: Exception) -> str:
    """What the server said, in one short line."""
    if not isinstance(error, UnexpectedResponse):
        return str(error)
    try:
        said = str(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        said = error.content.decode("utf-8", "replace")
    return " ".join(said.split())[:200].rstrip(".") or error.reason_phrase


def _is_refused_tls(error: BaseException) -> bool:
    """Not one that only ended: that is how a server dies."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
