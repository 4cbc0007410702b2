"""Follow the file with the CA of the custom token endpoint, which the token gateway writes and replaces."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from wisp.admission.policy import InlineCA
from wisp.base.constants import PEM_BEGIN
from wisp.base.log import Log
from wisp.base.pem import only_certificates

LARGEST = 1024 * 1024
"""Bytes of the file. The patch of a pod may not be larger, and it holds the CA."""
_INTERVAL = 2.0
"""Seconds between reads. The kubelet takes about a minute to renew a volume."""


class EndpointCAFile:
    """Call `use` with the CA in a file, and again when it changes. If it becomes unusable, the last one stays in use.

    The kubelet replaces the files of a Secret's volume by exchanging a symbolic link, so they are never half-written.
    """

    def __init__(self, path: Path, use: Callable[[InlineCA], None], log: Log) -> None:
        self._path = path
        self._use = use
        self._log = log
        self._in_use: bytes | None = None
        self._last_reason = ""

    async def run(self) -> None:
        """Read the file, indefinitely."""
        while True:
            self.read()
            await asyncio.sleep(_INTERVAL)

    def read(self) -> None:
        """Read the file, and use the CA in it if it is new and usable."""
        try:
            with self._path.open("rb") as file:
                content = file.read(LARGEST + 1)
            ca = None if content == self._in_use else _ca_in(content)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            if reason != self._last_reason:
                self._log.warning("custom token endpoint's CA not usable", file=str(self._path), reason=reason)
            self._last_reason = reason
            return
        self._last_reason = ""
        if ca is not None:
            self._in_use = content
            self._use(ca)
            self._log.info("custom token endpoint's CA in use", certificates=ca.pem.count(PEM_BEGIN))


def _ca_in(content: bytes) -> InlineCA:
    """Return the CA in PEM text. Raise ValueError if there is none, or something that is not a certificate."""
    if len(content) > LARGEST:
        raise ValueError(f"the file has more than {LARGEST:,} bytes")
    pem = only_certificates(content.decode("ascii", "ignore"))
    if not pem:
        raise ValueError("the file holds no certificate in PEM format")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("the file holds something that is not a certificate") from None
    return InlineCA(pem)
