"""Get a document over https with every bound that a stranger's server calls for."""

import ssl
import time
from pathlib import Path

import urllib3

from wisp.base.errors import SettingError
from wisp_local.cloud.remote import FetchError

_SIZE_LIMIT = 256 * 1024  # bytes; a key set is a few kilobytes
_CHUNK = 16 * 1024
_DEADLINE = 10.0  # seconds for the whole document
_PATIENCE = urllib3.Timeout(connect=3.0, read=3.0)  # seconds for each step


class HttpsFetch:
    """A `Fetch` that trusts the system's authorities and those in the file `authorities`.

    Raises `SettingError` when that file cannot be used. Redirects are refused, compressed answers not asked for.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        context = ssl.create_default_context()
        if authorities is not None:
            _trust(context, authorities)
        self._pool = urllib3.PoolManager(num_pools=16, ssl_context=context, timeout=_PATIENCE, retries=False)

    def __call__(self, url: str) -> bytes:
        """Return the body of a 200 answer; raises `FetchError`."""
        try:
            response = self._pool.request("GET", url, redirect=False, preload_content=False)
            try:
                return _body(response)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            raise FetchError(type(error).__name__) from error


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    if response.status != 200:
        raise FetchError(f"status {response.status}")
    body, deadline = bytearray(), time.monotonic() + _DEADLINE
    for chunk in response.stream(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > _SIZE_LIMIT or time.monotonic() > deadline:
            raise FetchError("the document is too large or too slow")
    return bytes(body)


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"the CA file {authorities} cannot be used ({error.strerror or 'no certificate in it'})",
            hint="give a PEM file to --issuer-ca",
        ) from error
