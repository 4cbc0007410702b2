"""The OIDC issuer of a cluster: its keys, what it publishes, and the service account tokens it issues.

Discovery and key set are those of the API server (Kubernetes, "Service account issuer discovery"); the URL ends in a
slash and the key set is below it at openid/v1/jwks, as on AKS.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE
from wisp_local.cloud.errors import RequestError

KEYS_PATH = "openid/v1/jwks"
MINIMUM_LIFETIME = 600  # seconds; the API server refuses less
_WARN_AFTER = 3600 + 7  # seconds; in a projected token of an hour
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})  # RFC 7518 §6
_ANY_HEADER = jws.JWSRegistry(algorithms=["RS256"], strict_check_header=False)  # GitHub's tokens have x5t, for example
NewKey = Callable[[], RSAPrivateKey]


def new_rsa_key() -> RSAPrivateKey:
    """Generate a signing key; takes 20 to 100 ms."""
    return generate_private_key(public_exponent=65537, key_size=2048)


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


def read_pem(pem: bytes) -> RSAPrivateKey:
    """Read back an unencrypted PKCS #8 key; the key is our own, so its primes are not tested again (20 ms)."""
    key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 -- a fault of ours, not of the input
    return key


@dataclass(frozen=True)
class Issuer:
    """An issuer; all of `keys` are published, the last one signs."""

    id: str
    name: str
    keys: tuple[SigningKey, ...]

    @property
    def path(self) -> str:
        """The path of the issuer URL, which begins with the cloud's base URL."""
        return f"/oidc/{self.id}/"


@dataclass(frozen=True)
class Projection:
    """What a service account token is projected for; `lifetime` in seconds."""

    namespace: str
    service_account: str
    pod: str = "pod"
    audience: str = DEFAULT_AUDIENCE
    lifetime: int = 3600

    @property
    def subject(self) -> str:
        """The subject claim, as Kubernetes writes it."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


def discovery(issuer_url: str) -> dict[str, object]:
    """Return the discovery document of `issuer_url` (OpenID Connect Discovery §4.2), field for field Kubernetes'."""
    return {
        "issuer": issuer_url,
        "jwks_uri": f"{issuer_url.rstrip('/')}/{KEYS_PATH}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def key_set(issuer: Issuer) -> dict[str, object]:
    """Return the published keys (RFC 7517)."""
    return {"keys": [key.published() for key in issuer.keys]}


def check_key_set(text: str) -> None:
    """Check that `text` is a key set to publish: at least one key, nothing private in any; raises `RequestError`."""
    try:
        published = json.loads(text)["keys"]
        kids = [jwk["kid"] for jwk in published]
        private = any(_PRIVATE & jwk.keys() for jwk in published)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RequestError("the key set cannot be read", hint="give the answer of /openid/v1/jwks") from error
    if private:
        raise RequestError("the key set holds private keys", hint="give only the public keys")
    if not kids:
        raise RequestError("the key set is empty", hint="give the answer of /openid/v1/jwks")


def service_account_token(issuer: Issuer, issuer_url: str, projection: Projection, *, now: float) -> Secret:
    """Issue at `now` (Unix seconds) the token that kubelet would project; raises `RequestError` under 10 minutes."""
    if projection.lifetime < MINIMUM_LIFETIME:
        problem = f"a service account token of {projection.lifetime} s is too short-lived"
        raise RequestError(problem, hint=f"ask for {MINIMUM_LIFETIME} seconds or more")
    return issuer.keys[-1].sign({}, service_account_claims(issuer_url, projection, now=now))


def service_account_claims(issuer_url: str, projection: Projection, *, now: float) -> Mapping[str, object]:
    """Return the claims of a token bound to a pod (KEP-1205, KEP-4193); uids follow from the names."""
    start = int(now)
    return {
        "aud": [projection.audience],
        "exp": start + projection.lifetime,
        "iat": start,
        "iss": issuer_url,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {
            "namespace": projection.namespace,
            "node": _object("node", "wisp-node"),
            "pod": _object("pod", projection.namespace, projection.pod),
            "serviceaccount": _object("serviceaccount", projection.namespace, projection.service_account),
            "warnafter": start + min(_WARN_AFTER, projection.lifetime),
        },
        "nbf": start,
        "sub": projection.subject,
    }


def _object(kind: str, *path: str) -> dict[str, str]:
    uid = uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("kubernetes.io", kind, *path)))
    return {"name": path[-1], "uid": str(uid)}
