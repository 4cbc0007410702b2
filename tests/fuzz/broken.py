"""Targets with one rule removed, in place of the real ones: a fuzzer that does not notice is useless."""

import json
import re
from collections.abc import Callable

from tests.fuzz import assertion, connection, node, routing, sidecar, token_request, token_response
from tests.fuzz.target import Target
from tests.support.fakes import token_target
from wisp.base.secret import Secret
from wisp.entra.exchange.interpret import interpret
from wisp.entra.messages import Refused, Result
from wisp.gateway.assertion import Examined, examine
from wisp.gateway.request import Rules, read_request
from wisp.gateway.types import TokenForm, TokenRefusal, Unauthenticated
from wisp.http.connection import Application, Source
from wisp.http.messages import Reject, Request, Response
from wisp.http.parser import Event, RequestReader
from wisp.http.response_parser import Malformed, ResponseReader
from wisp.imds.answer import Refusal
from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest, judge
from wisp.imds.request import Decision, decide
from wisp_local.cloud.entra.refusals import Refused as CloudRefused
from wisp_local.cloud.entra.request import Assertion, read_assertion

_TRUE = (b"metadata", b"true")


def _with_metadata(request: Request) -> Request:
    headers = (pair for pair in request.headers if pair[0] != b"metadata")
    return request._replace(headers=(_TRUE, *headers))


def _decides_for_anybody(request: Request, header: Secret | None, *, header_required: bool) -> Decision:
    """Treat every request as one with `Metadata: true`."""
    return decide(_with_metadata(request), header, header_required=header_required)


def _from_localhost(request: Request) -> Request:
    headers = tuple(pair for pair in request.headers if pair[0] not in (b"host", b"origin", b"sec-fetch-site"))
    return request._replace(headers=((b"host", b"localhost"), *headers))


def _decides_for_pages(request: Request, header: Secret | None, *, header_required: bool) -> Decision:
    """Treat every request as one to this host that no web page sent."""
    return decide(_from_localhost(request), header, header_required=header_required)


def _passes_by_prefix(request: Request, allowed: tuple[str, ...]) -> ForwardedRequest | AlreadyForwarded | Refusal:
    """Forward every path with an allowed prefix, and so `/metadata/instance/../identity` too."""
    judged = judge(request._replace(target=b"/metadata/instance"), allowed)
    begins = re.fullmatch(rb"/metadata/instance/[!-~]+", request.target)
    return (
        judged._replace(target=request.target)
        if isinstance(judged, ForwardedRequest) and begins
        else judge(request, allowed)
    )


class _Hasty(RequestReader):
    """Accepts a line feed as a line end, and does not remember the carriage return before it."""

    def receive(self, data: bytes) -> Event | None:
        """Receive input."""
        return super().receive(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


class _Unbounded(RequestReader):
    """Buffers a head without an end."""

    def receive(self, data: bytes) -> Event | None:
        """Receive input."""
        if self.buffer + data and b"\r\n\r\n" not in self.buffer + data:
            self.buffer += data
            return None
        return super().receive(data)


class _Open:
    """An application that gives tokens to every client."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Answer without the check."""
        return self._application.answer(_with_metadata(request), reply)

    def rejected(self, reject: Reject) -> Response:
        """Return the rejection."""
        return self._application.rejected(reject)


class _Rebound(_Open):
    """An application that serves every host and web page."""

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Answer without the check."""
        return self._application.answer(_from_localhost(request), reply)


class _Confused(_Open):
    """An application that answers a rejected request with a token."""

    def answer(self, request: Request, reply: Callable[[Response], None]) -> Response | Source | None:
        """Answer without the check."""
        if request.method == b"POST" and request.body:
            return super().answer(request._replace(method=b"GET", target=token_target().encode()), reply)
        return self._application.answer(request, reply)


def _repeats(status: int, retry_after: str | None, body: bytes, now: float) -> Result:
    """Repeat a description without masking."""
    result = interpret(status, retry_after, body, now)
    if isinstance(result, Refused) and "***" in result.description:
        return result._replace(description=json.loads(body)["error_description"])
    return result


def _believes(text: str) -> Assertion | CloudRefused:
    """Trust `exp` to be a number."""
    read = read_assertion(text)
    if isinstance(read, Assertion) and read.expires > 1e300:
        raise OverflowError("date value out of range")
    return read


class _Trimming(ResponseReader):
    """Strips white space from the input."""

    def feed(self, data: bytes) -> bytes | Malformed:
        """Feed input."""
        return super().feed(data.lstrip(b" "))


def _strips(request: Request, rules: Rules) -> TokenForm | TokenRefusal:
    """Remove the braces that some programs write around a GUID."""
    return read_request(request._replace(body=request.body.replace(b"%7B", b"").replace(b"%7D", b"")), rules)


def _quotes(request: Request, rules: Rules) -> TokenForm | TokenRefusal:
    """Repeat what was sent in a refusal."""
    read = read_request(request, rules)
    if isinstance(read, TokenRefusal) and "***" in read.description:
        return read._replace(description=f"AADSTS70011: {request.body.decode('latin-1')[:900]}")
    return read


def _welcomes(assertion: Secret, _audience: str, now: float) -> Examined | Unauthenticated:
    """Accept tokens for the API server, too."""
    return examine(assertion, "https://kubernetes.default.svc", now)


BROKEN = {
    "routing-without-metadata": Target(
        lambda data: routing.check(data, routing.Decisions(decide=_decides_for_anybody)), 100_000, ("paths",)
    ),
    "routing-without-hosts": Target(
        lambda data: routing.check(data, routing.Decisions(decide=_decides_for_pages)), 100_000, ("paths",)
    ),
    "routing-without-dots": Target(
        lambda data: routing.check(data, routing.Decisions(judge=_passes_by_prefix)), 100_000, ("paths",)
    ),
    "connection-without-memory": Target(lambda data: connection.check(data, _Hasty), 100_000, ("http",)),
    "connection-without-limits": Target(lambda data: connection.check(data, _Unbounded), 100_000, ("http",)),
    "sidecar-without-metadata": Target(lambda data: sidecar.check(data, _Open), 50_000, ("http", "paths")),
    "sidecar-without-hosts": Target(lambda data: sidecar.check(data, _Rebound), 50_000, ("http", "paths")),
    "sidecar-without-method": Target(lambda data: sidecar.check(data, _Confused), 50_000, ("http", "paths")),
    "authority-without-mask": Target(lambda data: token_response.check(data, _repeats), 100_000, ("entra",)),
    "assertion-without-doubt": Target(lambda data: assertion.check(data, _believes), 100_000, ("assertions",)),
    "gateway-without-guids": Target(
        lambda data: token_request.check(data, token_request.Reading(read=_strips)), 100_000, ("assertions", "gateway")
    ),
    "gateway-without-mask": Target(
        lambda data: token_request.check(data, token_request.Reading(read=_quotes)), 100_000, ("assertions", "gateway")
    ),
    "gateway-without-audience": Target(
        lambda data: token_request.check(data, token_request.Reading(examine=_welcomes)), 100_000, ("gateway",)
    ),
    "node-without-blanks": Target(lambda data: node.check(data, _Trimming), 100_000, ("answers",)),
}
