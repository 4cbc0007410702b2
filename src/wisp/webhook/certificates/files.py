"""Certificates that somebody else keeps, in files (cert-manager's Secret as a volume): read again when they change."""

import asyncio
from pathlib import Path
from ssl import SSLError
from typing import Protocol

from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.webhook.certificates.certifying import UncertifiedError
from wisp.webhook.certificates.keeper import Show

_LOOK = 2.0
"""Seconds between looks. The kubelet takes a minute or so to renew a volume."""


class Reader(Protocol):
    """What reads certificates; see `wisp.webhook.certificates.certifying`."""

    async def expiry(self, chain: bytes) -> float:
        """Return when a certificate ends, in Unix seconds. Raise UncertifiedError."""


class Files:
    """Show `tls.crt` and `tls.key` of a folder; what cannot be used leaves the last that could in place."""

    def __init__(self, folder: Path, reader: Reader, show: Show, log: Log) -> None:
        self._folder = folder
        self._reader = reader
        self._show = show
        self._log = log
        self._shown: tuple[bytes, Secret] | None = None
        self._complaint = ""
        self.expires_at: float | None = None
        self.failures = 0
        """How often the files could not be used."""

    @property
    def in_place(self) -> bool:
        """Whether there is a certificate; that API servers trust it is its owner's business."""
        return self._shown is not None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK)

    async def look(self) -> None:
        """Read the files, and show them if they are new and whole."""
        try:
            read = self._read()
            if read == self._shown:
                return
            expires_at = await self._reader.expiry(read[0])
            self._show.show(*read)
        except (OSError, UncertifiedError, ValueError) as error:  # an SSLError is an OSError
            self.failures += 1
            reason = error.reason if isinstance(error, SSLError) else str(error)
            if reason != self._complaint:
                self._log.warning("certificate files not usable", folder=str(self._folder), reason=reason)
            self._complaint = str(reason)
            return
        self._shown, self.expires_at, self._complaint = read, expires_at, ""
        self._log.info("certificate in use", expires_at=int(expires_at))

    def _read(self) -> tuple[bytes, Secret]:
        return (self._folder / "tls.crt").read_bytes(), Secret((self._folder / "tls.key").read_text(encoding="ascii"))
