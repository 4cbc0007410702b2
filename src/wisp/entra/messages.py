"""What the sidecar asks of its exchange process and what it hears back. Knows no socket, no clock and no TLS.

The two talk in JSON objects, one a packet. The assertion is not among them: it never leaves the exchange process.
"""

from typing import Any, NamedTuple, TypeAlias

from wisp.base.jsontext import from_json, to_json
from wisp.base.secret import Secret


class Ask(NamedTuple):
    """A token for `resource`, exactly as the workload spelled it, of the identity `client_id`.

    `capabilities` is what the workload's client says it can do (xms_cc), names separated by commas; empty as a rule.
    """

    client_id: str
    resource: str
    capabilities: str = ""


class Granted(NamedTuple):
    """A token, with lifetimes in seconds from its arrival and what its claims say of the identity, where they do."""

    access_token: Secret
    expires_in: int
    refresh_in: int | None = None
    not_before: int | None = None
    object_id: str | None = None
    resource_id: str | None = None


class Refused(NamedTuple):
    """No token, in the words the client will hear. `retry_after` is in seconds; `cause` is a metric label.

    Causes: refused (by Entra), throttled, unavailable (unreachable, 5xx, unreadable), token_file, exchange_process.
    """

    status: int
    error: str
    description: str
    cause: str
    aadsts: int | None = None
    retry_after: float | None = None

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later without anything being changed."""
        return self.status in (429, 503)


Result: TypeAlias = Granted | Refused


def unavailable(description: str, *, cause: str = "unavailable", retry_after: float | None = None) -> Refused:
    """Return the refusal for a passing fault."""
    return Refused(503, "temporarily_unavailable", description, cause, None, retry_after)


def pack_ask(number: int, ask: Ask) -> bytes:
    """Return the packet that asks for a token."""
    return to_json([number, *ask])


def unpack_ask(packet: bytes) -> tuple[int, Ask]:
    """Return the request's number and what is asked."""
    number, *fields = from_json(packet)
    return number, Ask(*fields)


def pack_result(number: int, result: Result) -> bytes:
    """Return the packet that answers request `number`."""
    if isinstance(result, Granted):
        return to_json([number, "granted", result.access_token.reveal(), *result[1:]])
    return to_json([number, "refused", *result])


def unpack_result(packet: bytes) -> tuple[int, Result]:
    """Return the number of the request answered, and the answer. Raise ValueError where the packet is neither."""
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
    """Return the first packet, which tells the exchange process its settings, secrets and all."""
    return to_json(_revealed(settings))


def _revealed(value: object) -> object:
    if isinstance(value, tuple):
        return [_revealed(each) for each in value]
    return value.reveal() if isinstance(value, Secret) else value


def unpack_settings(packet: bytes) -> list[Any]:
    """Return the fields of the settings."""
    fields = from_json(packet)
    assert isinstance(fields, list)  # noqa: S101 -- both ends are ours
    return fields
