"""Decides which requests are rejected on every route, whatever their path and method. Pure.

The client to keep out is a web page. A browser lets a page reach loopback, and DNS rebinding gives the page the same
origin as the sidecar, so that it may set any header but those that the browser controls: Host, Origin, Sec-Fetch-Site.
"""

from wisp.http.head import Request
from wisp.imds.decision import Refuse, invalid
from wisp.imds.target import authority_of

_DECIDING = frozenset(
    (
        b"content-type", b"expect", b"host", b"metadata", b"origin", b"sec-fetch-site", b"secret", b"x-forwarded-for",
        b"x-identity-header", b"x-wisp-passed",
    )
)  # fmt: skip
"""The headers that decide how a request is answered. Each may be given once."""
_NAMES = frozenset((b"169.254.169.254", b"localhost", b"[::1]"))
_DIGITS = b"0123456789"

MISDIRECTED = Refuse(
    421,
    "misdirected_request",
    "The request is for another host. The Host header, and the host of an absolute request target, must be "
    "169.254.169.254, localhost or a loopback address",
)
"""RFC 9110 §15.5.20."""
FROM_WEB_PAGE = Refuse(
    403,
    "forbidden",
    "Requests from web pages are rejected: this one has an Origin header, or a Sec-Fetch-Site header other than none",
)


def deciding_fields(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header fields that decide how `request` is answered, in their order."""
    return tuple(field for field in request.headers if field[0] in _DECIDING)


def check(request: Request) -> Refuse | None:
    """Return why `request` is rejected on every route, or None.

    Only HTTP/1.0 may omit Host (RFC 9112 §3.2), which the parser of heads enforces. The host of an absolute target
    takes the place of Host (RFC 9112 §3.2.2); both must be acceptable.
    """
    found: dict[bytes, bytes] = {}
    for name, value in request.headers:
        if name in _DECIDING:
            if name in found:
                return invalid(f"The request has more than one {name.decode()} header. Send it once")
            found[name] = value
    host, target_host = found.get(b"host"), authority_of(request.target)
    if (host is not None and not is_local(host)) or (target_host is not None and not is_local(target_host)):
        return MISDIRECTED
    if b"origin" in found or found.get(b"sec-fetch-site", b"none") != b"none":
        return FROM_WEB_PAGE
    return None


def is_local(authority: bytes) -> bool:
    """Return whether `authority`, a host with or without a port, is the metadata service's address or loopback.

    A name that DNS can resolve to any address is not, however it ends or begins.
    """
    without_digits = authority.rstrip(_DIGITS)
    host = without_digits[:-1] if without_digits.endswith(b":") else authority
    return host.lower() in _NAMES or _is_loopback_address(host)


def _is_loopback_address(host: bytes) -> bool:
    """Return whether `host` is an IPv4 address in 127.0.0.0/8, as four decimal numbers."""
    numbers = host.split(b".")
    return len(numbers) == 4 and numbers[0] == b"127" and all(map(_is_octet, numbers))


def _is_octet(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 3 and int(text) <= 255 and b"%d" % int(text) == text
