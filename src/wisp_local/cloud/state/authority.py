"""The certificate authority of a local cloud, and the certificate of its server."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509

from wisp.base.x509 import CertificateRequest, CertifiedKey, general_name, issue
from wisp.base.x509 import new_authority as new_x509_authority
from wisp_local.cloud.state.database import Database

_AUTHORITY_SECONDS = 3650 * 86400.0
_SERVER_SECONDS = 397 * 86400.0  # browsers accept 398 days at most, macOS 825
_RENEWAL_DAYS = 30


def new_authority(now: float) -> CertifiedKey:
    """Make a self-signed CA, valid for ten years from `now` (Unix seconds)."""
    return new_x509_authority("wisp local cloud CA", now=now, seconds=_AUTHORITY_SECONDS)


def new_server_certificate(authority: CertifiedKey, names: Iterable[str], now: float) -> CertifiedKey:
    """Make a certificate for the host names and IP addresses `names`, valid from `now` (Unix seconds)."""
    return issue(authority, CertificateRequest("wisp local cloud", names), now=now, seconds=_SERVER_SECONDS)


def is_fit(server: CertifiedKey, names: Iterable[str], now: float) -> bool:
    """Tell whether `server` is for exactly `names` and will be valid for a month from `now`."""
    certificate, moment = server.certificate, datetime.fromtimestamp(int(now), UTC)
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expires = certificate.not_valid_after_utc
    fresh = certificate.not_valid_before_utc <= moment and moment + timedelta(days=_RENEWAL_DAYS) < expires
    return fresh and set(alternatives) == {general_name(name) for name in names}


class Authority:
    """The CA in `database`, created once, and the server certificate it issued last; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate: what a client must trust."""
        return self._authority().certificate_pem

    def server_certificate(self, names: Sequence[str]) -> CertifiedKey:
        """Return a certificate for exactly `names` (hosts and IP addresses), issuing a new one if necessary."""
        authority = self._authority()
        with self._database.transaction():
            stored = self._load("server")
            if stored is not None and is_fit(stored, names, self._clock()):
                return stored
            return self._save("server", new_server_certificate(authority, names, self._clock()))

    def _authority(self) -> CertifiedKey:
        stored = self._load("authority")
        if stored is not None:
            return stored
        with self._database.transaction():
            return self._load("authority") or self._save("authority", new_authority(self._clock()))

    def _load(self, name: str) -> CertifiedKey | None:
        row = self._database.row("SELECT key_pem, certificate_pem FROM certificate WHERE name = ?", name)
        return None if row is None else CertifiedKey(*row)

    def _save(self, name: str, certified: CertifiedKey) -> CertifiedKey:
        statement = "INSERT OR REPLACE INTO certificate VALUES (?, ?, ?)"
        self._database.rows(statement, name, certified.key_pem, certified.certificate_pem)
        return certified
