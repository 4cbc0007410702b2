"""The certificate authority of a state file: made once, and the server certificate it issued last."""

from collections.abc import Callable, Sequence

from wisp.base.x509 import CertifiedKey
from wisp_local.cloud.certificates import is_fit, new_authority, new_server_certificate
from wisp_local.cloud.database import Database


class Authority:
    """The CA kept in `database`; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate: what a client must trust."""
        return self._authority().certificate_pem

    def server_certificate(self, names: Sequence[str]) -> CertifiedKey:
        """Return a certificate for exactly `names` (hosts and IP addresses), a new one if need be."""
        authority = self._authority()
        with self._database.transaction():
            kept = self._kept("server")
            if kept is not None and is_fit(kept, names, self._clock()):
                return kept
            return self._keep("server", new_server_certificate(authority, names, self._clock()))

    def _authority(self) -> CertifiedKey:
        kept = self._kept("authority")
        if kept is not None:
            return kept
        with self._database.transaction():
            return self._kept("authority") or self._keep("authority", new_authority(self._clock()))

    def _kept(self, name: str) -> CertifiedKey | None:
        row = self._database.row("SELECT key_pem, certificate_pem FROM certificate WHERE name = ?", name)
        return None if row is None else CertifiedKey(*row)

    def _keep(self, name: str, certified: CertifiedKey) -> CertifiedKey:
        statement = "INSERT OR REPLACE INTO certificate VALUES (?, ?, ?)"
        self._database.rows(statement, name, certified.key_pem, certified.certificate_pem)
        return certified
