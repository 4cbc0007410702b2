"""A small Azure: one identity that trusts one service account of one cluster, and a client of its token endpoint."""

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.unit.wisp_local.cloud.asgi import Answer, Client
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.entra.request import ASSERTION_TYPE
from wisp_local.cloud.issuer import Issuer, Projection, service_account_claims
from wisp_local.cloud.state.store import Store

NOW = 1_760_000_000.0
BASE_URL = "https://cloud.test:8443"
SUBJECT = "system:serviceaccount:kube-system:wi-demo-sa"
PROJECTION = Projection("kube-system", "wi-demo-sa")
ARM = "https://management.azure.com/"


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = NOW

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now


class KeyPool:
    """Hand out the same few RSA keys over and over: making one takes up to 100 ms."""

    def __init__(self, keys: list[RSAPrivateKey]) -> None:
        self._keys = keys
        self._given = 0

    def __call__(self) -> RSAPrivateKey:
        """Return the next key."""
        self._given += 1
        return self._keys[self._given % len(self._keys)]


@dataclass
class SmallAzure:
    """Everything that a token request needs; tests replace what they want."""

    store: Store
    clock: Clock
    client: Client
    identity: ManagedIdentity
    issuer: Issuer
    log: list[dict[str, object]] = field(default_factory=list)

    @property
    def issuer_url(self) -> str:
        """The issuer of the cluster."""
        return BASE_URL + self.issuer.path

    @property
    def tenant(self) -> str:
        """The tenant's id."""
        return self.store.tenant().id

    def claims(self, **changes: object) -> dict[str, object]:
        """Return the claims of a good assertion with some changed; None takes one away."""
        claims = {**service_account_claims(self.issuer_url, PROJECTION, now=self.clock()), **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def assertion(self, **changes: object) -> str:
        """Return a signed assertion with the changed claims."""
        return self.issuer.keys[-1].sign({}, self.claims(**changes)).reveal()

    def form(self, **changes: str | None) -> dict[str, str]:
        """Return a good token request's form with some parameters changed; None takes one away."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.identity.client_id,
            "scope": f"{ARM}/.default",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion() if "client_assertion" not in changes else "",
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    def ask(self, tenant: str | None = None, **changes: str | None) -> Answer:
        """Send a token request with some parameters changed."""
        return self.client.post(f"/{tenant or self.tenant}/oauth2/v2.0/token", self.form(**changes))

    def present(self, **changes: object) -> Answer:
        """Send a token request whose assertion has some claims changed."""
        return self.ask(client_assertion=self.assertion(**changes))


def claims_of(token: str) -> dict[str, Any]:
    """Read a JWT's claims without checking anything."""
    import jwt  # noqa: PLC0415 -- the independent library, kept out of the fixtures' way

    return dict(jwt.decode(token, options={"verify_signature": False}))
