"""What the steps of a token request at the gateway hand to each other. Pure."""

from typing import Literal, NamedTuple, TypeAlias

from wisp.base.secret import Secret

AUDIENCE = "api://AKSIdentityBinding"
"""The audience of callers' tokens, unless another one is configured."""
API_GROUP = "cid.wi.aks.azure.com"
VERB = "use-managed-identity"
"""What RBAC grants on the resource that is called like the identity's client id, at the scope of the cluster."""

Outcome: TypeAlias = Literal[
    "granted",  # a token
    "invalid_request",  # 4xx: the form, the tenant or the client id
    "unauthenticated",  # 401: the caller's token is not valid here
    "forbidden",  # 401: RBAC does not allow the caller to use the identity
    "throttled",  # 429: the caller's own limits, or Entra's
    "refused",  # 4xx by Entra
    "unavailable",  # 503: the API server or Entra does not answer, or there is too much to do
    "rejected",  # bytes that are not a request
    "abandoned",  # the connection ended before the answer
    "failed",  # 500: an error in the gateway itself
]
"""How a request ended: the label `result` of metrics and audit lines."""


class TokenForm(NamedTuple):
    """A token request whose form is valid. `client_id` is in lower case; `claims` is JSON or empty."""

    tenant: str
    client_id: str
    scope: str
    claims: str
    assertion: Secret
    """The caller's service account token."""
    correlation_id: str
    """The client's own request id, or a new one. It is in the answer, the audit line and the request to Entra."""
    renew: bool = False
    """Whether the client needs a newer token than it may have got before, which a resource has rejected."""


class Caller(NamedTuple):
    """A workload that a TokenReview has authenticated; what of it is unknown is empty."""

    username: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]
    namespace: str = ""
    service_account: str = ""
    pod: str = ""
    pod_uid: str = ""
    node: str = ""

    @property
    def key(self) -> str:
        """What limits are counted by: the pod, or the user of a token that is not bound to a pod."""
        return self.pod_uid or self.username


class Authorized(NamedTuple):
    """The caller may use the identity."""

    caller: Caller


class Unauthenticated(NamedTuple):
    """The token is not valid for this gateway; `reason` holds no part of it."""

    reason: str


class Forbidden(NamedTuple):
    """RBAC does not allow the caller to use the identity."""

    caller: Caller


class Undecided(NamedTuple):
    """The API server does not answer, or too many reviews wait for it. No token may be given."""

    reason: str
    retry_after: float


Authorization: TypeAlias = Authorized | Unauthenticated | Forbidden | Undecided


class TokenRefusal(NamedTuple):
    """Why there is no token, as it is answered in Entra's format (RFC 6749 §5.2). `code`: an AADSTS code."""

    outcome: Outcome
    status: int
    error: str
    description: str
    code: int | None = None
    retry_after: float | None = None
    """Seconds. Required for the statuses 429 and 503."""
    claims: str | None = None
    """The claims that Entra demands, for the client to request (a claims challenge)."""
