"""The certificate authority of a local cloud and the certificates of its server: lifetimes and names."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from wisp.base.x509 import CertificateRequest, CertifiedKey, general_name, issue
from wisp.base.x509 import new_authority as new_x509_authority
from wisp.base.x509 import self_signed as self_signed_x509

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


def self_signed(key: rsa.RSAPrivateKey, common_name: str, now: float) -> x509.Certificate:
    """Wrap a token-signing key in a certificate, as Entra publishes its keys (x5c, x5t)."""
    return self_signed_x509(key, common_name, now=now, seconds=_AUTHORITY_SECONDS)
