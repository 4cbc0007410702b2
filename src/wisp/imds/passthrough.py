"""Decides what may go on to the node's metadata service, and what of its answer comes back. Knows no socket, no clock.

Everything is denied but a few paths in plain spelling: what no server can decode, resolve or fold into another path.
Below /metadata/identity is the node's own identity, which is not the pod's: nothing there ever passes.
"""

from collections.abc import Iterable
from typing import NamedTuple

from wisp.http.head import Request
from wisp.imds.decision import Refuse, invalid
from wisp.imds.dialects import FORWARDED, NO_METADATA_HEADER, has_metadata_header
from wisp.imds.target import split_target

SEGMENTS = ("instance", "versions", "scheduledevents", "attested", "loadbalancer")
"""The segments that may follow /metadata, and the names under which their GET is passed on."""

ACKNOWLEDGE = "scheduledevents-acknowledge"
"""The name under which POST /metadata/scheduledevents is passed on: it acknowledges an event of the node."""

NAMES = (*SEGMENTS, ACKNOWLEDGE)
"""Everything that can be passed on. The default is SEGMENTS: only reading."""

MARK = b"x-wisp-passed"
"""Header of every request that a sidecar passes on; its value is the mark of that sidecar."""

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986 §2.3
_PATH_BYTES = frozenset(_UNRESERVED + b"/")
_QUERY_BYTES = frozenset(_UNRESERVED + b"=&+,:$")  # no slash, nor a percent sign that may hide one: no other path
_VALUE_BYTES = frozenset(range(0x20, 0x7F)) | {0x09}

_REQUEST_HEADERS = (b"accept", b"content-type", b"user-agent", b"x-ms-client-request-id")
_RESPONSE_HEADERS = frozenset((b"allow", b"content-encoding", b"content-type", b"retry-after", b"server"))


def read_names(text: str) -> tuple[str, ...]:
    """Return those of NAMES that `text` lists, separated by commas, or no name for `none`, in the order of NAMES.

    Raise ValueError with a name that is not one of NAMES.
    """
    listed = [] if text.strip().lower() == "none" else [name.strip().lower() for name in text.split(",")]
    for name in listed:
        if name not in NAMES:
            raise ValueError(name)
    return tuple(name for name in NAMES if name in listed)


class Forward(NamedTuple):
    """A request as the metadata service will see it; `headers` are whole lines."""

    method: bytes
    target: bytes
    headers: bytes
    body: bytes = b""

    def encode(self, host: bytes, mark: bytes) -> bytes:
        """Return its bytes; `host` is the metadata service's own name, `mark` says which sidecar passes it on."""
        length = b"Content-Length: %d\r\n" % len(self.body) if self.method == b"POST" else b""
        return b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n%b%b%b\r\n%b" % (
            self.method,
            self.target,
            host,
            _line(MARK, mark),
            self.headers,
            length,
            self.body,
        )


class Returned(NamedTuple):
    """A request that a sidecar has passed on already, and that is not passed on again; `mark` is that sidecar's."""

    mark: bytes


def judge(request: Request, allowed: tuple[str, ...]) -> Forward | Returned | Refuse:
    """Decide what of `request` is passed on; `allowed` are some of NAMES."""
    path, query = split_target(request.target) or (b"", b"")
    below = _plain_segment(path)
    methods = _methods(below, allowed)
    if not methods or b"#" in request.target:
        return Refuse(404, "not_found", _what_is_served(allowed))
    refuse = None if request.method in methods else _wrong_method(below, methods)
    mark = request.header(MARK)
    if refuse is None and mark is not None:
        return Returned(mark)
    refuse = refuse or _about_headers(request)
    if refuse is not None:
        return refuse
    if request.method == b"GET" and request.body:
        return invalid("A GET of the metadata service has no body")
    if not _QUERY_BYTES.issuperset(query):
        return invalid("The query holds characters that no query of the metadata service needs")
    target = b"/" + path.strip(b"/") + (b"?" + query if query else b"")
    return Forward(request.method, target, _request_headers(request), request.body)


def _plain_segment(path: bytes) -> str:
    """Return the segment that follows /metadata, in lower case; an empty one where `path` is elsewhere or not plain.

    SDKs put slashes before and after, and Azure does not mind the case.
    """
    inner = path.strip(b"/")
    segments = inner.lower().split(b"/")
    dotted = not all(segment.strip(b".") for segment in segments)  # or empty
    if len(segments) < 2 or segments[0] != b"metadata" or dotted or not _PATH_BYTES.issuperset(inner):
        return ""
    return segments[1].decode()


def _methods(below: str, allowed: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the methods that are passed on for the segment `below` /metadata."""
    methods = (b"GET",) if below in SEGMENTS and below in allowed else ()
    return (*methods, b"POST") if below == "scheduledevents" and ACKNOWLEDGE in allowed else methods


def _wrong_method(below: str, methods: tuple[bytes, ...]) -> Refuse:
    allow = b", ".join(methods).decode()
    hint = ""
    if below == "scheduledevents":
        hint = f". The sidecar passes on GET for {below}, and POST for {ACKNOWLEDGE}, where --passthrough names them"
    return Refuse(405, "method_not_allowed", f"/metadata/{below} takes {allow} only{hint}", allow)


def _about_headers(request: Request) -> Refuse | None:
    """Say what is wrong with the headers, if anything: they are what shows that the workload itself is asking."""
    if request.header(b"x-forwarded-for") is not None:
        return FORWARDED
    return None if has_metadata_header(request) else NO_METADATA_HEADER


def _what_is_served(allowed: tuple[str, ...]) -> str:
    passed = ", ".join(f"/metadata/{name}" for name in SEGMENTS if _methods(name, allowed))
    others = f" and, of the node's metadata service, {passed}" if passed else ""
    return f"Nothing is served but the token endpoint /metadata/identity/oauth2/token{others}, in plain spelling"


def _request_headers(request: Request) -> bytes:
    """Return those of the request's headers that are passed on, and `Metadata`."""
    found = [(name, request.header(name)) for name in _REQUEST_HEADERS]
    kept = b"".join(_line(name, value) for name, value in found if value)
    return b"metadata: true\r\n" + kept


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return, as whole lines, those of the metadata service's headers that the client gets; names are in lower case.

    What concerns one connection only (RFC 9110 §7.6.1) is not among them, nor is a Location: it would be on the node.
    """
    return b"".join(
        _line(name, value) for name, value in headers if name in _RESPONSE_HEADERS or name.startswith(b"x-ms-")
    )


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value) if _VALUE_BYTES.issuperset(value) else b""
