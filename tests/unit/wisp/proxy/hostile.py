"""Requests that are after the node's identity, or are not what they seem.

None may reach the node's metadata service, and none may be answered with a token.
`python -m tests.unit.wisp.proxy.hostile` writes docs/reference/hostile-requests.md.
"""

import sys
from typing import NamedTuple

from tests.support.fakes import token_target
from tests.unit.wisp.http.hostile import ALL

TOKEN_REQUEST = b"GET " + token_target().encode() + b" HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n\r\n"
_QUERY = token_target().partition("?")[2].encode()
_BEHIND = b"%x\r\n" % len(TOKEN_REQUEST) + TOKEN_REQUEST + b"\r\n0\r\n\r\n"


class Case(NamedTuple):
    """A request, the expected statuses, and how the documentation shows it."""

    data: bytes
    statuses: tuple[int, ...]
    display: str = ""


def _get(target: bytes, status: int, *headers: bytes, method: bytes = b"GET") -> Case:
    fields = (b"Host: 169.254.169.254", *(headers or (b"Metadata: true",)))
    return _with_fields(target, status, fields, method)


def _with_fields(target: bytes, status: int, fields: tuple[bytes, ...], method: bytes = b"GET") -> Case:
    data = b"\r\n".join([method + b" " + target + b" HTTP/1.1", *fields, b"", b""])
    return Case(data, (status,), _shown(method + b" " + target))


def _shown(data: bytes) -> str:
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text if len(text) < 120 else f"{text[:60]}... ({len(data):,} bytes)"


def _token(path: bytes, status: int = 404) -> Case:
    """Request a token with another spelling of its path."""
    return _get(path + b"?" + _QUERY, status)._replace(display=_shown(b"GET " + path))


SPELLINGS = {
    "the node's identity": _get(b"/metadata/identity", 404),
    "with a trailing slash": _get(b"/metadata/identity/", 404),
    "in upper case": _get(b"/METADATA/IDENTITY/INFO", 404),
    "another path below it": _get(b"/metadata/identity/info?api-version=2018-02-01", 404),
    "what IMDSv2 clients look for": _get(b"/metadata/identity/getplatformmetadata", 404),
    "the parent of the token path": _token(b"/metadata/identity/oauth2"),
    "below the token path": _token(b"/metadata/identity/oauth2/token/x"),
    "an empty segment before it": _token(b"/metadata//identity/oauth2/token"),
    "an empty segment in it": _token(b"/metadata/identity//oauth2/token"),
    "an empty segment before the last": _token(b"/metadata/identity/oauth2//token"),
    "a dot segment": _token(b"/metadata/./identity/oauth2/token"),
    "a dot segment in it": _token(b"/metadata/identity/./oauth2/token"),
    "a leading dot segment": _token(b"/./metadata/identity/oauth2/token"),
    "a parent segment": _token(b"/metadata/instance/../identity/oauth2/token"),
    "a parent segment after another path": _token(b"/x/../metadata/identity/oauth2/token"),
    "a parent segment with parameters": _token(b"/metadata/instance/..;/identity/oauth2/token"),
    "a parent segment, encoded": _token(b"/metadata/instance/%2e%2e/identity/oauth2/token"),
    "a parent segment, half encoded": _token(b"/metadata/instance/%2E./identity/oauth2/token"),
    "a parent segment, encoded twice": _token(b"/metadata/instance/%252e%252e/identity/oauth2/token"),
    "a parent segment, an encoded slash": _token(b"/metadata/instance/..%2fidentity/oauth2/token"),
    "a parent segment, encoded slashes": _token(b"/metadata/instance%2F..%2Fidentity%2Foauth2%2Ftoken"),
    "a parent segment, a slash encoded twice": _token(b"/metadata/instance/..%252fidentity/oauth2/token"),
    "a parent segment, a backslash": _token(b"/metadata/instance/..\\identity/oauth2/token"),
    "a parent segment, an encoded backslash": _token(b"/metadata/instance/..%5cidentity/oauth2/token"),
    "a parent segment, dots in overlong UTF-8": _token(b"/metadata/instance/%c0%ae%c0%ae/identity/oauth2/token"),
    "a parent segment, fullwidth dots": _token(b"/metadata/instance/%ef%bc%8e%ef%bc%8e/identity/oauth2/token"),
    "a parent segment, UTF-16 escapes": _token(b"/metadata/instance/%u002e%u002e/identity/oauth2/token"),
    "three dots": _token(b"/metadata/instance/.../identity/oauth2/token"),
    "a letter encoded": _token(b"/metadata/%69dentity/oauth2/token"),
    "a letter encoded twice": _token(b"/metadata/%2569dentity/oauth2/token"),
    "a letter as a UTF-16 escape": _token(b"/metadata/%u0069dentity/oauth2/token"),
    "a letter in overlong UTF-8": _token(b"/metadata/%c1%a9dentity/oauth2/token"),
    "a fullwidth letter": _token(b"/metadata/%ef%bd%89dentity/oauth2/token"),
    "a Turkish i": _token(b"/metadata/%c4%b1dentity/oauth2/token"),
    "a Turkish i, not encoded": _token("/metadata/\u0131dentity/oauth2/token".encode(), 400),
    "a letter of the token's path": _token(b"/metadata/identity/oauth2/toke%6e"),
    "a slash encoded": _token(b"/metadata%2fidentity/oauth2/token"),
    "a slash encoded twice": _token(b"/metadata%252fidentity/oauth2/token"),
    "a slash in overlong UTF-8": _token(b"/metadata%c0%afidentity/oauth2/token"),
    "a slash in longer UTF-8": _token(b"/metadata%e0%80%afidentity/oauth2/token"),
    "a fullwidth slash": _token(b"/metadata%ef%bc%8fidentity/oauth2/token"),
    "a division slash": _token(b"/metadata%e2%88%95identity/oauth2/token"),
    "a backslash": _token(b"/metadata\\identity\\oauth2\\token"),
    "a leading backslash": _token(b"\\metadata\\identity\\oauth2\\token", 400),
    "no leading slash": _token(b"metadata/identity/oauth2/token", 400),
    "parameters": _token(b"/metadata;a=b/identity;c/oauth2/token"),
    "trailing parameters": _token(b"/metadata/identity/oauth2/token;a=b"),
    "a trailing dot": _token(b"/metadata/identity./oauth2/token"),
    "a trailing space": _token(b"/metadata/identity/oauth2/token%20"),
    "a trailing NUL": _token(b"/metadata/identity/oauth2/token%00"),
    "a line feed": _token(b"/metadata/instance%0d%0aX:%20/identity"),
    "a space": _token(b"/metadata/identity /oauth2/token", 400),
    "a tab": _token(b"/metadata/\tidentity/oauth2/token", 400),
    "a fragment": _get(b"/metadata/instance#/../identity/oauth2/token", 404),
    "in the query": _get(b"/metadata/instance?/../identity/oauth2/token", 400),
    "hidden in the query": _get(b"/metadata/instance/?%2f..%2fidentity/oauth2/token", 400),
    "before a query": _get(b"/metadata/identity/info?/metadata/instance", 404),
    "an encoded question mark": _get(b"/metadata/identity%3f/../instance", 404),
    "absolute": _get(b"http://169.254.169.254/metadata/identity/info", 404),
    "absolute, a parent segment": _token(b"http://169.254.169.254/metadata/instance/../identity/oauth2/token"),
    "absolute, another host": _get(b"http://node/metadata/identity", 421),
    "absolute, a user": _get(b"http://node@x/metadata/identity", 421),
    "absolute, no host": _get(b"http:///metadata/identity", 421),
    "absolute, the path as its host": _token(b"http://metadata/identity/oauth2/token", 421),
    "absolute, another scheme": _get(b"ftp://169.254.169.254/metadata/identity", 400),
    "authority": _get(b"169.254.169.254:80", 400),
    "a tunnel": _get(b"169.254.169.254:80", 400, method=b"CONNECT"),
    "asterisk": _get(b"*", 400, method=b"OPTIONS"),
}

REQUESTS = {
    "no Metadata header": _get(b"/metadata/instance", 400, b"X: y"),
    "Metadata: false": _get(b"/metadata/instance", 400, b"Metadata: false"),
    "Metadata: false, then true": _get(b"/metadata/instance", 400, b"Metadata: false", b"Metadata: true"),
    "Metadata on a folded line": _get(b"/metadata/instance", 400, b"X: y\r\n Metadata: true"),
    "Metadata after a bare line feed": _get(b"/metadata/instance", 400, b"X: y\nMetadata: true"),
    "Metadata after a bare carriage return": _get(b"/metadata/instance", 400, b"X: y\rMetadata: true"),
    "a space before Metadata's colon": _get(b"/metadata/instance", 400, b"Metadata : true"),
    "Metadata in a trailer": Case(
        b"POST /metadata/scheduledevents HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nMetadata: true\r\n\r\n",
        (400,),
    ),
    "X-Forwarded-For": _get(b"/metadata/instance", 400, b"Metadata: true", b"X-Forwarded-For: 10.0.0.1"),
    "X-Forwarded-For, empty": _get(b"/metadata/instance", 400, b"Metadata: true", b"X-FORWARDED-FOR:"),
    "forwarded by a sidecar before": _get(b"/metadata/instance", 508, b"Metadata: true", b"X-Wisp-Passed: 1"),
    "an upgrade to HTTP/2": _get(
        b"/metadata/identity/info", 404, b"Metadata: true", b"Upgrade: h2c", b"Connection: Upgrade"
    ),
    **{
        f"{method.decode()}": _get(b"/metadata/instance", 405, method=method)
        for method in (b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH")
    },
    "another path named in headers": _get(
        b"/metadata/identity", 404, b"Metadata: true", b"X-Original-URL: /metadata/instance"
    ),
    "a token request in the body of a GET": Case(
        b"GET /metadata/instance HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nContent-Length: %d\r\n\r\n"
        % len(TOKEN_REQUEST)
        + TOKEN_REQUEST,
        (400,),
    ),
    "a token request in the chunks of a GET": Case(
        b"GET /metadata/instance HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nTransfer-Encoding: chunked\r\n\r\n"
        + _BEHIND,
        (400,),
    ),
    "a token request in the body of a request for the node's identity": Case(
        b"POST /metadata/identity/info HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(TOKEN_REQUEST)
        + TOKEN_REQUEST,
        (404,),
    ),
    "a target of 8 KiB": Case(
        b"GET /metadata/instance/" + b"a" * 8192 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414,)
    ),
    "a head of 16 KiB": _get(b"/metadata/instance", 431, b"Metadata: true", b"X: " + b"y" * 16384),
    "a body of more than 64 KiB": Case(
        b"POST /metadata/scheduledevents HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nContent-Length: 65537\r\n\r\n"
        + b"a" * 65537,
        (413,),
    ),
    "chunks of more than 64 KiB": Case(
        b"POST /metadata/scheduledevents HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n10001\r\n" + b"a" * 65537 + b"\r\n0\r\n\r\n",
        (413,),
    ),
    "an incomplete head": Case(b"GET /metadata/instance HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n", ()),
    "an incomplete body": Case(
        b"POST /metadata/scheduledevents HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nContent-Length: 3\r\n\r\nab",
        (),
    ),
}


def _aimed(data: bytes) -> bytes:
    """Return a valid forwarded request followed by a token request."""
    aimed = data.replace(b"GET / ", b"GET /metadata/instance ").replace(b"POST / ", b"POST /metadata/scheduledevents ")
    return aimed.replace(b"\r\nHost: x\r\n", b"\r\nHost: localhost\r\nMetadata: true\r\n", 1) + TOKEN_REQUEST


ROUTES = {
    "the token": token_target().encode(),
    "the node's data": b"/metadata/instance",
    "metrics": b"/metrics",
    "health": b"/readyz",
    "another path": b"/",
}

_FOREIGN_HOSTS = (
    b"rebind.test", b"rebind.test:8000", b"localhost.", b"localhost.rebind.test", b"127.0.0.1.rebind.test", b"10.0.0.7",
    b"0.0.0.0", b"127.1", b"2130706433", b"[::ffff:127.0.0.1]", b"metadata.azure.internal", b"x@localhost", b"",
)  # fmt: skip
_LOCAL = b"Host: 127.0.0.1:8000"
_AS_WORKLOAD = (b"Metadata: true", b"X-IDENTITY-HEADER: x")

CHECKS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    **{f"Host: {host.decode()}": (421, (b"Host: " + host, *_AS_WORKLOAD)) for host in _FOREIGN_HOSTS},
    **{
        line.decode(): (403, (_LOCAL, line, *_AS_WORKLOAD))
        for line in (
            b"Origin: http://rebind.test:8000", b"Origin: http://127.0.0.1:8000", b"Origin: null", b"Origin:",
            b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Site: same-site", b"Sec-Fetch-Site: cross-site",
            b"Sec-Fetch-Site:",
        )
    },
    **{
        f"{first.decode()}, then {second.decode()}": (400, (_LOCAL, first, second, b"X: y"))
        for first, second in (
            (b"Metadata: true", b"Metadata: true"),
            (b"Metadata: true", b"Metadata: false"),
            (b"X-IDENTITY-HEADER: x", b"x-identity-header: x"),
            (b"secret: x", b"secret: y"),
            (b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-For: 10.0.0.1"),
            (b"Origin: null", b"Origin: null"),
            (b"Sec-Fetch-Site: none", b"Sec-Fetch-Site: none"),
            (b"Content-Type: text/plain", b"Content-Type: application/x-www-form-urlencoded"),
            (b"Expect: 100-continue", b"Expect: 100-continue"),
            (b"X-Wisp-Passed: 1", b"X-Wisp-Passed: 2"),
        )
    },
}  # fmt: skip
"""What every route rejects: the status, and the headers."""

_CHECKED = {
    f"{name}: {check}": _with_fields(target, status, headers)
    for check, (status, headers) in CHECKS.items()
    for name, target in ROUTES.items()
}


FRAMING = {f"framing: {name}": Case(_aimed(hostile.data), (hostile.status,)) for name, hostile in ALL.items()}

CASES = {**SPELLINGS, **REQUESTS, **_CHECKED, **FRAMING}

_PAGE = """\
# Hostile requests

The tests send each of these requests to a real sidecar, at once and again byte by byte, with a token available and a
recording metadata service: none of them reaches that service, and none is answered with a token
(`tests/unit/wisp/proxy/test_hostile.py`). [Passthrough](passthrough.md) explains which requests the sidecar forwards.
This page is generated by `python -m tests.unit.wisp.proxy.hostile > docs/reference/hostile-requests.md`; a test
compares the two.

## Spellings of the node's identity

All are sent with `Metadata: true`, and with the query of a token request if the path is a spelling of the token path.

| spelling | request | answer |
|---|---|---|
{spellings}

## Misleading requests

| request | answer |
|---|---|
{requests}

## Checks on every request

Each is sent to the token endpoint, to `/metadata/instance`, `/metrics`, `/readyz` and an unknown path, with
everything else that a valid request needs. Absolute targets for other hosts are among the spellings above.

| request | answer |
|---|---|
{checks}

## Framing

Each is sent to a path that the sidecar forwards, with `Metadata: true`, and is followed by a valid token request. The
connection is closed after the answer, so the second request is not served.

| request | answer |
|---|---|
{framing}
"""


def page() -> str:
    """Return the documentation page of all cases."""
    spellings = [f"| {name} | `{case.display}` | {_answer(case)} |" for name, case in SPELLINGS.items()]
    requests = [f"| {name} | {_answer(case)} |" for name, case in REQUESTS.items()]
    checks = [f"| `{name}` | {status} |" for name, (status, _) in CHECKS.items()]
    framing = [f"| {_cell(name)} | {_answer(Case(b'', (hostile.status,)))} |" for name, hostile in ALL.items()]
    tables = {"spellings": spellings, "requests": requests, "checks": checks, "framing": framing}
    return _PAGE.format(**{name: "\n".join(rows) for name, rows in tables.items()})


def _cell(text: str) -> str:
    return f"`{text}`" if text.startswith(("b'", 'b"')) else text.replace("|", "\\|")


def _answer(case: Case) -> str:
    return str(case.statuses[0]) if case.statuses else "no answer: the request is incomplete"


if __name__ == "__main__":
    sys.stdout.write(page())
