"""Get documents over https, bounded in size and time."""

import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import urllib3

from wisp.base.errors import SettingError

SIZE_LIMIT = 256 * 1024  # bytes; a key set is a few kilobytes
_CHUNK = 16 * 1024
_DEADLINE = 10.0  # seconds for the whole document
_TIMEOUT = urllib3.Timeout(connect=3.0, read=3.0)  # seconds for each step


class FetchError(Exception):
    """A document could not be fetched; the reason quotes no document."""


class HttpsFetch:
    """Get a document over https from servers that `context` trusts, of at most `size_limit` bytes.

    `headers` are sent with each request. Redirects are refused, compressed answers not asked for.
    """

    def __init__(
        self, context: ssl.SSLContext, *, headers: Mapping[str, str] | None = None, size_limit: int = SIZE_LIMIT
    ) -> None:
        self._size_limit = size_limit
        self._pool = urllib3.PoolManager(
            num_pools=16, ssl_context=context, headers=headers, timeout=_TIMEOUT, retries=False
        )

    def __call__(self, url: str) -> bytes:
        """Return the body of a 200 answer; raises `FetchError`."""
        try:
            response = self._pool.request("GET", url, redirect=False, preload_content=False)
            try:
                return self._body(response)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            raise FetchError(type(error).__name__) from error

    def _body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.status != 200:
            raise FetchError(f"status {response.status}")
        body, deadline = bytearray(), time.monotonic() + _DEADLINE
        for chunk in response.stream(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self._size_limit or time.monotonic() > deadline:
                raise FetchError("the document is too large or too slow")
        return bytes(body)


def trust(authorities: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and those in `authorities`; raises `SettingError`."""
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ssl.SSLError) as error:
            problem = f"the CA file {authorities} cannot be used ({error.strerror or 'no certificate in it'})"
            raise SettingError(problem, hint="give a PEM file to --issuer-ca") from error
    return context


def present(context: ssl.SSLContext, pem: bytes) -> None:
    """Load the key and certificate in `pem`; they touch a private temporary file, as ssl reads keys from files only."""
    with tempfile.NamedTemporaryFile(prefix="wisp-", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
