"""Certificates in files that another program writes (cert-manager's Secret as a volume), read when they change."""

import asyncio
from pathlib import Path
from ssl import SSLError

from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.certificates.controller import CertificateUser
from wisp.certificates.issuer import IssuerError, IssuerProcess

_INTERVAL = 2.0
"""Seconds between reads. The kubelet takes about a minute to renew a volume."""


class CertificateFiles:
    """Use `tls.crt` and `tls.key` of a folder. If they become unusable, the last usable ones stay in use."""

    def __init__(self, folder: Path, issuer: IssuerProcess, user: CertificateUser, log: Log) -> None:
        self._folder = folder
        self._issuer = issuer
        self._user = user
        self._log = log
        self._in_use: tuple[bytes, Secret] | None = None
        self._last_reason = ""
        self.expires_at: float | None = None
        """When the certificate in use expires, in Unix seconds."""
        self.failures = 0
        """How often the files could not be used."""

    @property
    def is_trusted(self) -> bool:
        """Whether there is a certificate. The program that writes the files must make API servers trust it."""
        return self._in_use is not None

    async def run(self) -> None:
        """Read the files, indefinitely."""
        while True:
            await self.read()
            await asyncio.sleep(_INTERVAL)

    async def read(self) -> None:
        """Read the files, and use them if they are new and usable."""
        try:
            chain = (self._folder / "tls.crt").read_bytes()
            key = Secret((self._folder / "tls.key").read_text(encoding="ascii"))
            if (chain, key) == self._in_use:
                return
            expires_at = await self._issuer.expiry(chain)
            self._user.show(chain, key)
        except (OSError, IssuerError, ValueError) as error:  # an SSLError is an OSError
            self.failures += 1
            reason = str(error.reason if isinstance(error, SSLError) else error)
            if reason != self._last_reason:
                self._log.warning("certificate files not usable", folder=str(self._folder), reason=reason)
            self._last_reason = reason
            return
        self._in_use, self.expires_at, self._last_reason = (chain, key), expires_at, ""
        self._log.info("certificate in use", expires_at=int(expires_at))
