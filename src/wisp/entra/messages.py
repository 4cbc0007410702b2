"""Messages between the sidecar, or the gateway, and its exchange process: JSON arrays, one per packet.

The assertion is not among them: it never leaves the exchange process.
"""

from typing import Any, NamedTuple, TypeAlias

from wisp.base.jsontext import from_json, to_json
from wisp.base.secret import Secret

MOST_AT_ONCE = 8
"""Exchanges that the exchange process makes at the same time, each on a connection of its own. Others wait in it."""


class TokenKey(NamedTuple):
    """Which token: for `resource`, exactly as the workload spelled it, of the identity `client_id`.

    The sidecar's keys have no tenant and no claims, and the gateway's no capabilities.
    """

    client_id: str
    resource: str
    """A resource, or a scope: the name of a resource with `/.default`."""
    capabilities: str = ""
    """What the workload's client says it can do (xms_cc), names separated by commas; usually empty."""
    tenant: str = ""
    """The identity's tenant; empty for the one in the settings."""
    claims: str = ""
    """A claims request, sent to Entra as it is, instead of one made of the capabilities."""
    newer: bool = False
    """For an exchange: a token is needed that is newer than those in the cache of a gateway, which may be revoked."""


class Granted(NamedTuple):
    """A token, with lifetimes in seconds from its arrival, and the identity's names if its claims have them."""

    access_token: Secret
    expires_in: int
    refresh_in: int | None = None
    not_before: int | None = None
    object_id: str | None = None
    resource_id: str | None = None


class Refused(NamedTuple):
    """No token, with the text that the client gets. `retry_after` is in seconds; `cause` is a metric label.

    Causes: refused (by Entra), throttled, unavailable (unreachable, 5xx, unreadable), token_file, exchange_process.
    """

    status: int
    error: str
    description: str
    cause: str
    aadsts: int | None = None
    retry_after: float | None = None
    claims: str | None = None
    """The claims that Entra asks the client to request (a claims challenge), if it does."""

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later without any change."""
        return self.status in (429, 503)


Result: TypeAlias = Granted | Refused


def unavailable(description: str, *, cause: str = "unavailable", retry_after: float | None = None) -> Refused:
    """Return the result for a temporary fault."""
    return Refused(503, "temporarily_unavailable", description, cause, None, retry_after)


def pack_request(number: int, key: TokenKey, request_id: str = "") -> bytes:
    """Return the packet that requests a token. `request_id`, if any, is sent to Entra as the client's."""
    return to_json([number, request_id, *key])


def unpack_request(packet: bytes) -> tuple[int, TokenKey, str]:
    """Return the request's number, the token that it is for, and the request id."""
    number, request_id, *fields = from_json(packet)
    return number, TokenKey(*fields), request_id


def pack_result(number: int, result: Result) -> bytes:
    """Return the packet that answers request `number`."""
    if isinstance(result, Granted):
        return to_json([number, "granted", result.access_token.reveal(), *result[1:]])
    return to_json([number, "refused", *result])


def unpack_result(packet: bytes) -> tuple[int, Result]:
    """Return the number of the request and its result. Raise ValueError if the packet holds neither."""
    try:
        number, kind, *fields = from_json(packet)
        result = _granted(*fields) if kind == "granted" else _refused(kind, *fields)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("no result is in the packet") from None  # nor its text in the traceback: it may hold a token
    if type(number) is not int:
        raise ValueError("no number is in the packet")
    return number, result


def _granted(token: object, expires_in: object, *others: Any) -> Granted:
    if not isinstance(token, str) or not isinstance(expires_in, int):
        raise TypeError
    return Granted(Secret(token), expires_in, *others)


def _refused(kind: object, status: object, error: object, description: object, *others: Any) -> Refused:
    if kind != "refused" or not isinstance(status, int):
        raise TypeError
    if not isinstance(error, str) or not isinstance(description, str):
        raise TypeError
    return Refused(status, error, description, *others)


def pack_settings(settings: tuple[Any, ...]) -> bytes:
    """Return the first packet, which holds the exchange process' settings, secrets included."""
    return to_json(_revealed(settings))


def _revealed(value: object) -> object:
    if isinstance(value, tuple):
        return [_revealed(item) for item in value]
    return value.reveal() if isinstance(value, Secret) else value


def unpack_settings(packet: bytes) -> list[Any]:
    """Return the fields of the settings."""
    fields = from_json(packet)
    assert isinstance(fields, list)  # noqa: S101 -- both ends are ours
    return fields
