"""RSA keys and the RS256 tokens they sign: thin over cryptography (keys) and joserfc (JWS, JWK)."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from wisp.base.secret import Secret
from wisp.base.x509 import private_pem

KEY_BITS = 2048
_ANY_HEADER = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)  # GitHub's tokens carry x5t, for one
NewKey = Callable[[], RSAPrivateKey]


def new_rsa_key() -> RSAPrivateKey:
    """Generate a signing key; takes 20 to 100 ms."""
    return generate_private_key(public_exponent=65537, key_size=KEY_BITS)


@dataclass(frozen=True)
class SigningKey:
    """A private key, the `kid` it is published under and further members of its JWK (x5t and x5c for Entra's)."""

    key_id: str
    private: RSAPrivateKey
    extra: Mapping[str, object]

    @cached_property
    def _jwk(self) -> RSAKey:
        return RSAKey.import_key(self.private)

    def sign(self, header: Mapping[str, object], claims: Mapping[str, object]) -> Secret:
        """Return the compact JWT of `claims`, with `alg` and `kid` added to `header`."""
        full = {**header, "alg": "RS256", "kid": self.key_id}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return Secret(jws.serialize_compact(full, payload, self._jwk, registry=_ANY_HEADER))

    @cached_property
    def public(self) -> RSAKey:
        """The public half, to verify with."""
        return RSAKey.import_key(self.private.public_key())

    def published(self) -> dict[str, object]:
        """Return the public JWK (RFC 7517) as key sets publish it."""
        public = self.public.as_dict(private=False)
        return {"use": "sig", "kty": "RSA", "kid": self.key_id, "alg": "RS256", **self.extra, **public}


def kubernetes_key_id(key: RSAPublicKey) -> str:
    """Return the `kid` as the API server derives it: base64url of the SHA-256 of the PKIX form (keyIDFromPublicKey)."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def verifies(assertion: Secret, key: RSAKey) -> bool:
    """Tell whether `assertion` is an RS256 JWT signed with `key`; never raises for what is in the assertion."""
    try:
        jws.deserialize_compact(assertion.reveal(), key, registry=_ANY_HEADER)
    except (JoseError, ValueError):
        return False
    return True


def write_pem(key: RSAPrivateKey) -> bytes:
    """Return the unencrypted PKCS #8 form, for the state file, whose mode protects it."""
    return private_pem(key)


def read_pem(pem: bytes) -> RSAPrivateKey:
    """Read back what `write_pem` wrote; the key is our own, so its primes are not tested again (20 ms)."""
    key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 -- a fault of ours, not of the input
    return key
