"""A request into `decide` and `judge`: nothing of the node's identity passes, and nobody asks without showing who.

An input is a request as people write it: `GET /target`, header lines, an empty line and the body, LF for CRLF. No HTTP
parser is in between, so that bytes are tried which ours refuses: the decisions do not lean on it.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from tests.unit.wisp.imds.readings import is_identity, readings
from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.passthrough import MARK, NAMES, AlreadyForwarded, ForwardedRequest, judge
from wisp.imds.request import LONGEST_RESOURCE, TOKEN_PATH, Decision, OtherPath, TokenRequest, decide

HEADER = b"an-identity-header"
_PASSED = {
    b"host", b"connection", b"content-length", b"metadata", b"x-wisp-passed",
    b"accept", b"content-type", b"user-agent", b"x-ms-client-request-id",
}  # fmt: skip
_STATUSES = {400, 401, 403, 404, 405, 421, 508}
_ONCE = {
    b"content-type", b"expect", b"host", b"metadata", b"origin", b"sec-fetch-site", b"secret", b"x-forwarded-for",
    b"x-identity-header", b"x-wisp-passed",
}  # fmt: skip
_HEALTH = re.compile(rb"(?i:https?://[^/?#]*)?/*(readyz|healthz)/*([?#].*)?", re.IGNORECASE | re.DOTALL)


class Decisions(NamedTuple):
    """The decisions under test; a test replaces them by faulty ones."""

    decide: Callable[..., Decision] = decide
    judge: Callable[[Request, tuple[str, ...]], ForwardedRequest | AlreadyForwarded | Refusal] = judge


def check(data: bytes, decisions: Decisions | None = None) -> None:
    """Fail if a decision about the request is wrong."""
    request, made = request_of(data), decisions or Decisions()
    secret = Secret(HEADER.decode())
    for header, required in ((None, False), (secret, False), (secret, True)):
        decision = made.decide(request, header, header_required=required)
        has_header = shows_header(request, header)
        if isinstance(decision, Refusal):
            _check_refuse(decision)
            continue
        assert is_acceptable(request), "a request is served that no route serves"
        if isinstance(decision, TokenRequest):
            assert has_header or (is_authorised(request) and not required), (
                "a token for a request without authorisation"
            )
            _check_token_request(request, decision)
        else:
            assert has_right(request, header, required=required), "a page for one who does not show the header"
            _check_passing(request, decision, made)


def request_of(data: bytes) -> Request:
    """Return the request that an input describes."""
    head, _, body = data.partition(b"\n\n")
    line, *fields = head.split(b"\n")
    method, _, target = line.partition(b" ")
    pairs = (field.partition(b":") for field in fields)
    headers = tuple((name.strip(b" \t").lower(), value.strip(b" \t")) for name, _, value in pairs)
    return Request(method, target, headers, body, http_1_0=False, keep_alive=True)


def is_authorised(request: Request) -> bool:
    """Return whether the metadata service's rule is met: only this rule stops web pages in browsers."""
    first = dict(reversed(request.headers))
    return first.get(b"metadata", b"").lower() == b"true" and b"x-forwarded-for" not in first


def shows_header(request: Request, header: Secret | None) -> bool:
    """Return whether App Service's rule is met: the right value, or any value if the sidecar has none configured."""
    names = dict(request.headers)
    values = [value for name, value in request.headers if name in (b"x-identity-header", b"secret")]
    has_header = bool(values) if header is None else header.reveal().encode() in values
    return has_header and b"x-forwarded-for" not in names


def has_right(request: Request, header: Secret | None, *, required: bool) -> bool:
    """Return whether the request has the identity header where it is required: everywhere but on the health pages."""
    values = [value for name, value in request.headers if name in (b"x-identity-header", b"secret")]
    has_header = header is not None and header.reveal().encode() in values
    return has_header or not required or _HEALTH.fullmatch(request.target) is not None


def is_acceptable(request: Request) -> bool:
    """Return whether a request is for this host, from no web page, and has each deciding header once."""
    names = [name for name, _ in request.headers]
    if any(names.count(name) > 1 for name in _ONCE) or b"origin" in names:
        return False
    headers = dict(request.headers)
    absolute = re.match(rb"https?://([^/?#]*)", request.target, re.IGNORECASE)
    hosts = [headers[b"host"]] if b"host" in headers else []
    hosts += [absolute[1]] if absolute else []
    return headers.get(b"sec-fetch-site", b"none") == b"none" and all(map(_is_local, hosts))


def _is_local(host: bytes) -> bool:
    """Return whether a URL with this authority leads to loopback or the metadata service without DNS."""
    try:
        parts = urlsplit("//" + host.decode())
        name = parts.hostname or ""
        if name == "localhost":
            return parts.username is None
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return parts.username is None and (address.is_loopback or str(address) == "169.254.169.254")


def _check_token_request(request: Request, decision: TokenRequest) -> None:
    path = request.target.partition(b"#")[0].partition(b"?")[0].lower().rstrip(b"/")
    assert path.endswith(TOKEN_PATH.encode()), "a token under another path"
    assert request.method in (b"GET", b"POST")
    assert 0 < len(decision.resource) <= LONGEST_RESOURCE
    assert decision.resource.isprintable()
    assert decision.selector is None or decision.selector.value


def _check_refuse(refuse: Refusal) -> None:
    assert refuse.status in _STATUSES
    assert refuse.error
    assert refuse.description.isprintable()


def _check_passing(request: Request, decision: OtherPath, made: Decisions) -> None:
    judged = made.judge(request, NAMES)
    if isinstance(judged, Refusal):
        _check_refuse(judged)
        return
    if isinstance(judged, AlreadyForwarded):
        assert judged.mark == request.header(MARK)
        return
    check_forward(judged)
    assert is_authorised(request), "something passes that the metadata service would not be asked for"
    assert judged.body == request.body
    assert decision.path.startswith("/metadata/")


def check_forward(forward: ForwardedRequest) -> None:
    """Fail if some server could read the node's identity, or more than one request, in the forwarded bytes."""
    found = [reading for reading in readings(forward.target) if is_identity(reading)]
    assert not found, f"{forward.target!r} can be read as {found[0]}"
    node = h11.Connection(h11.SERVER)
    node.receive_data(forward.encode(b"169.254.169.254", b"a-mark"))
    head = node.next_event()
    assert isinstance(head, h11.Request)
    assert (head.method, head.target) == (forward.method, forward.target)
    assert {name for name, _ in head.headers} <= _PASSED
    body = b""
    while isinstance(event := node.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (body, node.trailing_data[0]) == (forward.body, b"")
