"""Who may look at the page, and what a browser may do with it.

The page shows what only the owner of this machine should see, to whoever can make a request. A stranger's web site in
the owner's browser can: by a name of its own that resolves to 127.0.0.1 (DNS rebinding), by a form, in a frame. Against
these, in this order: the Host header, the fetch metadata with a sealed form, and the headers below.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection, Sequence

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
    "This page answers only by the names of this cloud, and the request's Host header was none of them.\n"
    "Use the address that `wisp cloud serve` printed, or name another with --advertise.\n"
)


class Guard:
    """ASGI middleware of every route of the page: `hosts` are the names that it answers to, whatever the port.

    `on_loopback_only`: there is no page on connections that came in at another address.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, on_loopback_only: bool = False) -> None:
        self._app = app
        self._hosts = hosts
        self._on_loopback_only = on_loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 to other hosts (RFC 9110 §15.5.20), and protect whatever is sent."""
        if self._on_loopback_only and not is_this_machine((scope.get("server") or ("",))[0]):
            raise HTTPException(404)
        meant = is_for(Headers(scope=scope).getlist("host"), self._hosts)
        app = self._app if meant else PlainTextResponse(_MISDIRECTED, 421)

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(PROTECTION)
            await send(message)

        await app(scope, receive, protected)


def is_for(given: Sequence[str], hosts: Collection[str]) -> bool:
    """Tell whether the Host headers `given` are one that names one of `hosts`; a forwarded port may be another."""
    return len(given) == 1 and host_of(given[0]) in hosts


def host_of(authority: str) -> str:
    """Return the host of `HOST`, `HOST:PORT` or `[IPV6]:PORT`, in lower case; empty when it is none of these."""
    host, bracket, rest = authority.rpartition("]")
    if not bracket:
        host, colon, port = authority.partition(":")
        rest = colon + port
    elif not host.startswith("["):
        return ""
    is_port = not rest or (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit())
    return host.removeprefix("[").lower() if is_port else ""


def is_from_page(headers: Headers, hosts: Collection[str]) -> bool:
    """Tell whether a POST can be our own form's: no other site's, as far as the browser says where it comes from.

    Under `Referrer-Policy: no-referrer` browsers send `Origin: null` with our own forms too (Fetch, "append a request
    Origin header"), so that only another origin by name is telling; Sec-Fetch-Site tells it all where it is sent.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin", "null")
    return origin == "null" or host_of(origin.removeprefix("https://")) in hosts


def is_this_machine(peer: str) -> bool:
    """Tell whether `peer`, an address, is a loopback one."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class Seal:
    """Marks our own forms with what no other site can know; a new one for every process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def of(self, what: str) -> str:
        """Return the mark of the form about `what`."""
        return hmac.new(self._key, what.encode(), hashlib.sha256).hexdigest()

    def fits(self, what: str, mark: str) -> bool:
        """Tell whether `mark` is the one that `of` gave."""
        return hmac.compare_digest(self.of(what).encode(), mark.encode("utf-8", "replace"))
