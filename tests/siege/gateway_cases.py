"""The attacks on the gateway."""

import base64
import itertools
import json
from collections.abc import Callable

from tests.siege.attacker import Client, Script
from tests.siege.case import ANYONE, CALLER, CUT, Case
from tests.siege.scripts import MANY, asking, crowd, hasty, never_reading, resetting, sending, trickling
from tests.support.fakes import jwt
from tests.unit.wisp.gateway.process import PATH, SERVICE, form
from tests.unit.wisp.kubernetes.callers import AUDIENCE, ISSUER

ATTACKED_CLIENT_ID = "99999999-9999-4999-8999-999999999999"
"""The identity that attackers ask for; genuine callers use another."""
WORKLOADS = 1000
"""Attackers' pods with a valid token and without a grant."""
_MIB = 1024 * 1024
_FAR = 4_000_000_000
_numbers = itertools.count()


def workload_token(number: int) -> str:
    """Return the token of one of the attackers' workloads, the same in every process."""
    return jwt(iss=ISSUER, aud=[AUDIENCE], exp=_FAR, jti=f"workload-{number}")


def granted_token() -> str:
    """Return the token of the attackers' workload that may use `ATTACKED_CLIENT_ID`."""
    return jwt(iss=ISSUER, aud=[AUDIENCE], exp=_FAR, jti="granted")


def _forged_token() -> str:
    """Return a token like the API server's, which it has not signed."""
    return jwt(iss=ISSUER, aud=[AUDIENCE], exp=_FAR, jti=f"forged-{next(_numbers)}")


def _unsigned_token() -> str:
    parts = ({"alg": "none"}, {"iss": ISSUER, "aud": [AUDIENCE], "exp": _FAR, "jti": str(next(_numbers))})
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), ""])


def _head(length: int, *fields: str) -> bytes:
    lines = (f"POST {PATH} HTTP/1.1", f"Host: {SERVICE}", "Content-Type: application/x-www-form-urlencoded")
    return "\r\n".join([*lines, f"Content-Length: {length}", *fields, "", ""]).encode()


def _post(body: bytes) -> bytes:
    return _head(len(body)) + body


def _request(token: str, **fields: str) -> bytes:
    return _post(form(token, ATTACKED_CLIENT_ID, **fields))


def _asking_for(request: Callable[[], bytes], times: int = 10) -> Script:
    """Send requests on one connection, each as `request` returns it then."""

    async def script(client: Client) -> None:
        await asking(*(request() for _ in range(times)), tls=True)(client)

    return script


def _any_workload() -> bytes:
    return _request(workload_token(next(_numbers) % WORKLOADS))


def _any_scope() -> bytes:
    return _request(granted_token(), scope=f"https://{next(_numbers)}.example/.default")


async def _two_at_once(client: Client) -> None:
    """Send two whole requests at once, and read both answers."""
    await client.open(tls=True)
    await client.send(_request(granted_token()) * 2)
    await client.answer()
    await client.answer()


_REFUSED = frozenset({"401"})
_BUSY = CUT | {"401"}

CASES: dict[str, Case] = {
    "handshakes-of-three-bytes": Case(
        ANYONE,
        "4,000 TLS handshakes of three bytes from 2,000 addresses",
        "Handshakes count as connections, which also bounds the memory for TLS.",
        crowd(4000, sending(b"\x16\x03\x01"), sources=MANY),
    ),
    "idle-connections": Case(
        ANYONE,
        "1,200 idle connections from different addresses",
        "At most 512 connections, counted when accepted; the connection that has been idle longest is closed.",
        crowd(1200, sending(b"", tls=True), sources=MANY),
    ),
    "idle-connections-one-source": Case(
        ANYONE,
        "600 idle connections from one address",
        "At most 256 connections per address.",
        crowd(600, sending(b"", tls=True)),
    ),
    "incomplete-requests": Case(
        ANYONE,
        "1,200 incomplete requests from different addresses, repeated when they are closed",
        "The incomplete request that has waited longest is closed.",
        crowd(1200, sending(b"POST / HTTP/1.1\r\nHost: x\r\n", tls=True), sources=MANY),
    ),
    "announced-3-mib": Case(
        ANYONE,
        "Requests that announce a body of 3 MiB",
        "A body over 64 KiB is rejected by its Content-Length: 413.",
        crowd(64, asking(_head(3 * _MIB), tls=True)),
        frozenset({"413"}),
    ),
    "bodies-3-mib": Case(
        ANYONE,
        "Bodies of 3 MiB",
        "A body over 64 KiB is rejected by its Content-Length, before it is read: 413.",
        crowd(16, asking(_post(bytes(3 * _MIB)), tls=True)),
        tolerated=CUT | {"413"},
    ),
    "bodies-held": Case(
        ANYONE,
        "600 bodies of 60 kB without their last byte",
        "The total size of bodies in flight is bounded.",
        crowd(600, sending(_head(60_000) + bytes(59_999), tls=True), sources=MANY),
    ),
    "trickled-bytes": Case(
        ANYONE,
        "600 token requests that are sent byte by byte",
        "A request has 10 seconds to arrive, even if its connection is active.",
        crowd(600, trickling(_request(granted_token()), tls=True), sources=MANY),
    ),
    "many-fields": Case(
        ANYONE,
        "Forms of 20,000 fields",
        "A form has at most 32 fields: 400.",
        crowd(32, asking(_post(b"a=&" * 20_000), tls=True)),
        frozenset({"400"}),
    ),
    "deep-claims": Case(
        ANYONE,
        "A claims request nested 1,000 deep",
        "The decoder limits the depth, and a claims request has at most 4 KiB: 400.",
        crowd(32, asking(_request(granted_token(), claims='{"a":' + "[" * 1000), tls=True)),
        frozenset({"400"}),
    ),
    "forged-tokens": Case(
        ANYONE,
        "Thousands of tokens that the API server has not signed, all different, from different addresses",
        "At most 32 reviews at a time, in turns by source address; few wait, and the others are answered 503.",
        crowd(100, _asking_for(lambda: _request(_forged_token())), sources=MANY),
        _REFUSED,
        tolerated=_BUSY,
    ),
    "forged-tokens-one-source": Case(
        ANYONE,
        "Thousands of such tokens from one address",
        "At most 8 reviews at a time for one address.",
        crowd(200, _asking_for(lambda: _request(_forged_token()))),
        _REFUSED,
        tolerated=_BUSY,
    ),
    "unsigned-tokens": Case(
        ANYONE,
        "Tokens with the algorithm none",
        "The API server reviews each token.",
        crowd(32, _asking_for(lambda: _request(_unsigned_token()))),
        _REFUSED,
        tolerated=_BUSY,
    ),
    "other-audience": Case(
        ANYONE,
        "Tokens for another audience, as fast as possible",
        "They are refused before a review.",
        crowd(64, asking(*[_request(jwt(aud=["https://kubernetes.default.svc"], exp=_FAR))] * 20, tls=True)),
        _REFUSED,
        tolerated=_BUSY,
    ),
    "workloads-without-a-grant": Case(
        CALLER,
        "A thousand pods that may not use the identity, as fast as possible",
        "A refusal is remembered for two seconds; reviews are bounded.",
        crowd(100, _asking_for(_any_workload), sources=MANY),
        _REFUSED,
        tolerated=_BUSY,
    ),
    "workload-without-a-pause": Case(
        CALLER,
        "A pod with a grant that requests tokens as fast as possible, on 200 connections",
        "Requests of one pod are limited: 429.",
        crowd(200, asking(*[_request(granted_token())] * 50, tls=True)),
        frozenset({"429"}),
        tolerated=CUT | {"200"},
    ),
    "workload-pipelines": Case(
        CALLER,
        "A pod with a grant that sends two requests at once, on 100 connections",
        "One request per connection is processed at a time.",
        crowd(100, _two_at_once),
        frozenset({"200", "429"}),
        tolerated=CUT,
    ),
    "workload-of-many-scopes": Case(
        CALLER,
        "A pod with a grant that requests tokens of thousands of scopes",
        "An identity has at most 32 tokens, and two of eight exchanges at a time.",
        crowd(64, _asking_for(_any_scope)),
        frozenset({"200", "429"}),
        tolerated=CUT,
    ),
    "never-reading": Case(
        CALLER,
        "500 connections that send token requests and read nothing",
        "A connection with unread responses is not read; the total size of unsent responses is bounded.",
        crowd(500, never_reading(_request(granted_token()), 50, tls=True), sources=MANY),
    ),
    "pipelined-flood": Case(
        ANYONE,
        "200 connections that send 2,000 pipelined requests each and read no response",
        "One request per connection is processed at a time; a connection with unread responses is not read.",
        crowd(200, never_reading(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2000, tls=True), sources=MANY),
    ),
    "health-incomplete-1000": Case(
        ANYONE,
        "1,000 incomplete requests at the health port",
        "The incomplete request that has waited longest is closed.",
        crowd(1000, sending(b"GET /healthz HTTP/1.1\r\nHost:", health=True), sources=MANY),
    ),
    "plain-http": Case(
        ANYONE,
        "HTTP without TLS at the TLS port",
        "The handshake fails.",
        crowd(200, sending(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), sources=MANY),
    ),
    "connect-storm": Case(
        ANYONE,
        "400 clients that repeatedly connect and close immediately",
        "A closed connection no longer counts.",
        crowd(400, hasty, sources=MANY),
    ),
    "reset-after-asking": Case(
        CALLER,
        "Connections that are reset while reviews for them are under way",
        "The reviews end, and their result is remembered for the next request.",
        crowd(200, resetting(_request(workload_token(0)), tls=True), sources=MANY),
    ),
}
