"""What can become of a request to the metadata service: the records, and nothing that makes them."""

from typing import NamedTuple, TypeAlias


class Selector(NamedTuple):
    """Which identity is meant: `kind` is client_id, object_id or resource_id."""

    kind: str
    value: str


class NamedSelector(NamedTuple):
    """A selector and the parameter that gave it, in lower case."""

    parameter: str
    selector: Selector


class TokenRequest(NamedTuple):
    """A request for a token for `resource`, exactly as spelled; of the default identity if there is no selector."""

    resource: str
    selector: Selector | None
    """The first one, if there are several."""
    capabilities: str = ""
    """What the client says it can do (xms_cc, such as CP1)."""
    renew: bool = False
    """Whether the client wants a token newer than the one that it may have from before."""
    revoked: str = ""
    """SHA-256 of a token that a resource rejected, in lower-case hexadecimal digits; empty if the client names none."""
    selectors: tuple[NamedSelector, ...] = ()
    """All selectors, if there are several."""


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
