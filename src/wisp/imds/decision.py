"""What can become of a request to the metadata service: the records, and nothing that makes them."""

from typing import NamedTuple, TypeAlias


class Selector(NamedTuple):
    """Which identity is meant: `kind` is client_id, object_id or resource_id."""

    kind: str
    value: str


class TokenRequest(NamedTuple):
    """A token for `resource`, exactly as spelled; of the pod's own identity where there is no selector.

    `capabilities` is what the client says it can do (xms_cc, such as CP1); `renew` that it will not have a token from
    before.
    """

    resource: str
    selector: Selector | None
    capabilities: str = ""
    renew: bool = False


class Refuse(NamedTuple):
    """The request is answered with an error: HTTP status, OAuth error code, and a text for people."""

    status: int
    error: str
    description: str
    allow: str | None = None


class PassOn(NamedTuple):
    """The request is none of the token endpoint's; `path` is where it goes, in lower case, without extra slashes."""

    path: str


Decision: TypeAlias = TokenRequest | Refuse | PassOn


def invalid(description: str) -> Refuse:
    """Return the refusal of a request that can never succeed: SDKs do not repeat a 400."""
    return Refuse(400, "invalid_request", description)
