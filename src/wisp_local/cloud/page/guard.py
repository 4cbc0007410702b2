"""Who may see the page, and what a browser may do with it.

The page shows what only the owner of this machine should see. Any program that can connect can request it, and so can a
hostile web site in the owner's browser: by a name of its own that resolves to 127.0.0.1 (DNS rebinding), by a form, or
in a frame. The defences, in this order: the check of the Host header, fetch metadata with a mark in the form, and the
response headers below.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PROTECTION = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MISDIRECTED = (
    "This page answers only by the names of this cloud, and the request's Host header is not one of them.\n"
    "Use the address that `wisp cloud serve` printed, or add another with --advertise.\n"
)


class Guard:
    """ASGI middleware of every route of the page, which answers only to the names in `hosts`, on any port.

    With `on_loopback_only` there is no page on connections that came in at another address.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, on_loopback_only: bool = False) -> None:
        self._app = app
        self._hosts = hosts
        self._on_loopback_only = on_loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 to other hosts (RFC 9110 §15.5.20), and add the protecting headers to every response."""
        if self._on_loopback_only and not is_this_machine((scope.get("server") or ("",))[0]):
            raise HTTPException(404)
        hosts = Headers(scope=scope).getlist("host")
        is_ours = len(hosts) == 1 and host_of(hosts[0]) in self._hosts
        app = self._app if is_ours else PlainTextResponse(_MISDIRECTED, 421)

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(PROTECTION)
            await send(message)

        await app(scope, receive, protected)


def host_of(authority: str) -> str:
    """Return the host of `HOST`, `HOST:PORT` or `[IPV6]:PORT`, in lower case; empty for anything else."""
    host, bracket, rest = authority.rpartition("]")
    if not bracket:
        host, colon, port = authority.partition(":")
        rest = colon + port
    elif not host.startswith("["):
        return ""
    is_port = not rest or (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit())
    return host.removeprefix("[").lower() if is_port else ""


def is_from_page(headers: Headers, hosts: Collection[str]) -> bool:
    """Tell whether a POST can come from a form of this page, as far as the browser says where it comes from.

    Under `Referrer-Policy: no-referrer` browsers send `Origin: null` with our own forms too (Fetch, "append a request
    Origin header"), so only the name of another origin is evidence. Sec-Fetch-Site is decisive where it is sent.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin", "null")
    return origin == "null" or host_of(origin.removeprefix("https://")) in hosts


def is_this_machine(peer: str) -> bool:
    """Tell whether the address `peer` is a loopback address."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class FormMarks:
    """Marks of this page's forms, which no other site can know; each process has its own."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def mark(self, trace_id: str) -> str:
        """Return the mark of the form about an exchange."""
        return hmac.new(self._key, trace_id.encode(), hashlib.sha256).hexdigest()

    def is_valid(self, trace_id: str, mark: str) -> bool:
        """Tell whether `mark` is the mark of the form about that exchange."""
        return hmac.compare_digest(self.mark(trace_id).encode(), mark.encode("utf-8", "replace"))
