"""Decide which requests are forwarded to the node's metadata service, and which headers of its response come back.

Everything is denied except a few paths in plain spelling, which no server can decode, resolve or fold into another
path. Below /metadata/identity is the node's own identity, which is not the pod's: nothing there is ever forwarded.
"""

from collections.abc import Iterable
from typing import NamedTuple

from wisp.http.messages import Request
from wisp.imds.answer import Refusal, invalid
from wisp.imds.dialects import FORWARDED, NO_METADATA_HEADER, has_metadata_header
from wisp.imds.request import split_target

SEGMENTS = ("instance", "versions", "scheduledevents", "attested", "loadbalancer")
"""The segments that may follow /metadata, and the names that allow their GET."""

ACKNOWLEDGE = "scheduledevents-acknowledge"
"""The name that allows POST /metadata/scheduledevents, which acknowledges an event of the node."""

NAMES = (*SEGMENTS, ACKNOWLEDGE)
"""Everything that can be allowed. The default is SEGMENTS: only reading."""

MARK = b"x-wisp-passed"
"""Header of every request that a sidecar forwards; its value identifies that sidecar."""

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986 §2.3
_PATH_BYTES = _UNRESERVED + b"/"
_QUERY_BYTES = _UNRESERVED + b"=&+,:$"  # no slash, nor a percent sign that may hide one: no other path
_VALUE_BYTES = bytes(range(0x20, 0x7F)) + b"\t"

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


class ForwardedRequest(NamedTuple):
    """A request as it is sent to the metadata service; `headers` are whole lines."""

    method: bytes
    target: bytes
    headers: bytes
    body: bytes = b""

    def encode(self, host: bytes, mark: bytes) -> bytes:
        """Return its bytes; `host` is the metadata service's own name, `mark` identifies this sidecar."""
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


class AlreadyForwarded(NamedTuple):
    """A request that a sidecar has forwarded already, and that is not forwarded again; `mark` is that sidecar's."""

    mark: bytes


def judge(request: Request, allowed: tuple[str, ...]) -> ForwardedRequest | AlreadyForwarded | Refusal:
    """Decide whether and how `request` is forwarded; `allowed` are some of NAMES."""
    path, query = split_target(request.target) or (b"", b"")
    below = _plain_segment(path)
    methods = _methods(below, allowed)
    if not methods or b"#" in request.target:
        return Refusal(404, "not_found", _served_paths(allowed))
    if request.method not in methods:
        return _wrong_method(below, methods)
    mark = request.header(MARK)
    if mark is not None:
        return AlreadyForwarded(mark)
    refusal = _refusal(request, query)
    if refusal is not None:
        return refusal
    target = b"/" + path.strip(b"/") + (b"?" + query if query else b"")
    return ForwardedRequest(request.method, target, _request_headers(request), request.body)


def _refusal(request: Request, query: bytes) -> Refusal | None:
    if request.header(b"x-forwarded-for") is not None:
        return FORWARDED
    if not has_metadata_header(request):
        return NO_METADATA_HEADER
    if request.method == b"GET" and request.body:
        return invalid("A GET of the metadata service has no body")
    if query.strip(_QUERY_BYTES):
        return invalid("The query holds characters that no query of the metadata service needs")
    return None


def _plain_segment(path: bytes) -> str:
    """Return the segment that follows /metadata, in lower case; an empty one if `path` is elsewhere or not plain.

    SDKs put slashes before and after, and Azure ignores case.
    """
    inner = path.strip(b"/")
    segments = inner.lower().split(b"/")
    dotted = not all(segment.strip(b".") for segment in segments)  # or empty
    if len(segments) < 2 or segments[0] != b"metadata" or dotted or inner.strip(_PATH_BYTES):
        return ""
    return segments[1].decode()


def _methods(below: str, allowed: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the methods that are allowed for the segment `below` /metadata."""
    methods = (b"GET",) if below in SEGMENTS and below in allowed else ()
    return (*methods, b"POST") if below == "scheduledevents" and ACKNOWLEDGE in allowed else methods


def _wrong_method(below: str, methods: tuple[bytes, ...]) -> Refusal:
    allow = b", ".join(methods).decode()
    hint = ""
    if below == "scheduledevents":
        hint = f". The sidecar passes on GET for {below}, and POST for {ACKNOWLEDGE}, where --passthrough names them"
    return Refusal(405, "method_not_allowed", f"/metadata/{below} takes {allow} only{hint}", allow)


def _served_paths(allowed: tuple[str, ...]) -> str:
    passed = ", ".join(f"/metadata/{name}" for name in SEGMENTS if _methods(name, allowed))
    others = f" and, of the node's metadata service, {passed}" if passed else ""
    return f"Nothing is served but the token endpoint /metadata/identity/oauth2/token{others}, in plain spelling"


def _request_headers(request: Request) -> bytes:
    """Return those of the request's headers that are forwarded, and `Metadata`."""
    found = [(name, request.header(name)) for name in _REQUEST_HEADERS]
    return b"metadata: true\r\n" + b"".join(_line(name, value) for name, value in found if value)


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return, as whole lines, those of the metadata service's headers that the client gets; names are in lower case.

    Headers that concern one connection only (RFC 9110 §7.6.1) are left out, as is Location, which would be on the node.
    """
    return b"".join(
        _line(name, value) for name, value in headers if name in _RESPONSE_HEADERS or name.startswith(b"x-ms-")
    )


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value) if not value.strip(_VALUE_BYTES) else b""
