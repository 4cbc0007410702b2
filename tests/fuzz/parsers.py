"""Every parser of foreign text, with the places of an input that can be repeated; `growth` measures them."""

import asyncio
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from tests.fuzz.assertion import CREDENTIAL
from tests.fuzz.growth import Parser
from tests.unit.wisp.admission.pods import POLICY, account
from tests.unit.wisp.gateway.token_requests import CORRELATION_ID, FORM, PATH, RULES, encoded
from wisp.admission import annotations, patch, policy, warnings
from wisp.admission import review as reviews
from wisp.base.errors import WispError
from wisp.base.masking import masked
from wisp.base.secret import Secret
from wisp.certificates import issuer_process, store
from wisp.certificates.decision import CertificateSet
from wisp.certificates.issuer import Adopt, IssueAll, Subject
from wisp.cli import manifests
from wisp.entra.exchange import interpret
from wisp.entra.messages import Refused
from wisp.gateway.answers import Federation, not_exchanged, refusal
from wisp.gateway.assertion import examine
from wisp.gateway.discovery import INSTANCE_PATH, discovery
from wisp.gateway.request import read_request
from wisp.gateway.reviews import read_access_review, read_token_review
from wisp.gateway.types import AUDIENCE, Caller, TokenRefusal
from wisp.http.messages import Reject, Request
from wisp.http.parser import ChunkedBody, RequestReader, parse_head
from wisp.http.response_parser import Malformed, ResponseReader
from wisp.imds.passthrough import SEGMENTS, judge
from wisp.imds.request import decide, parse_target
from wisp.kubernetes import client as api
from wisp.kubernetes import types as objects
from wisp.kubernetes.types import ApiResponse
from wisp_local.cloud.arm import reading, roles
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.entra.request import read_assertion, read_token_request
from wisp_local.cloud.page import explanation, tokens
from wisp_local.sandbox.processes import tail

COMMON = (
    b"a", b"A1", b"0", b"9", b" ", b"\t", b"\r\n", b"\n", b"\n\n", b"\x00", b"\xff", "\u2028é".encode(),
    b"%", b"%25", b"%2E", b"%252e", b"/", b"//", b".", b"..", b"-", b"_", b"=", b"&", b"a=b&", b"+", b";", b",", b":",
    b"(", b")", b"[", b"[],", b"{", b'{"a":', b'"', b'\\"', b"'", b"''", b"\\", b"\\u0000", b"<", b"#", b"#\r\n",
    b"eyJ", b"eyJhbGciOiJ", b"eyJ.", b"eyJhbGciOiJSUzI1NiJ9.", b"a.a.a.", b"eyJhbGci.a.b ", b"AADSTS7000", b"AADSTS ",
    b"-----BEGIN", b"-----END CERTIFICATE-----", b"a b ", b"Mon, ", b"1e", b"azure-workload-identity/",
)  # fmt: skip
"""Units that were the undoing of some parser: escapes, delimiters without an end, beginnings of tokens."""

_CHUNK_LIMIT = 1 << 20
_PIECE = 1024


def _head(data: bytes) -> None:
    parse_head(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")


def _connection(data: bytes, size: int | None = None) -> None:
    """Read requests at once, or in pieces of `size` bytes."""
    connection = RequestReader()
    for start in range(0, len(data), size or len(data)):
        event = connection.receive(data[start : start + size] if size else data)
        while event is not None:
            event = connection.next_event()


def _chunked(data: bytes) -> None:
    body = ChunkedBody(_CHUNK_LIMIT)
    buffer = bytearray()
    for start in range(0, len(data), _PIECE):
        buffer += data[start : start + _PIECE]
        if isinstance(body.feed(buffer), bytes | Reject):
            return


def _received(data: bytes) -> None:
    received = ResponseReader()
    for start in range(0, len(data), _PIECE):
        if isinstance(received.feed(data[start : start + _PIECE]), Malformed):
            return
    received.ended()


def _request(data: bytes) -> None:
    """Decide about a request whose target, header and form are all `data`."""
    get = Request(b"GET", data, ((b"metadata", b"true"), (b"x-identity-header", data)), b"", False, True)  # noqa: FBT003
    decide(get, Secret("h"))
    judge(get, SEGMENTS)
    decide(get._replace(method=b"POST", target=b"/metadata/identity/oauth2/token", body=data))


def _interpret(data: bytes) -> None:
    """Interpret an answer of Entra's, and pass its refusal on as the gateway does."""
    for status in (200, 400, 429, 500):
        result = interpret.interpret(status, None, data, 1e9)
        if isinstance(result, Refused):
            refusal(not_exchanged(result, Federation("https://i", "s")), CORRELATION_ID, unix=1e9)


def _retry_after(data: bytes) -> None:
    interpret.seconds_of(data.decode("latin-1"), 1e9)


def _form(data: bytes) -> None:
    pairs = parse_qsl(data.decode("latin-1"), keep_blank_values=True)
    read_token_request([*pairs, ("client_assertion", "x"), ("claims", data.decode("latin-1"))])


def _gateway(data: bytes) -> None:
    """Read a token request with `data` as its body, in its target and in every header."""
    headers = ((b"content-type", b"application/x-www-form-urlencoded"), (b"client-request-id", data))
    request = Request(b"POST", PATH.encode(), headers, data, http_1_0=False, keep_alive=True)
    claims = encoded({**FORM, "claims": data.decode("latin-1"), "scope": data.decode("latin-1")})
    for form in (
        request,
        request._replace(body=claims),
        request._replace(target=b"/" + data + b"/oauth2/v2.0/token"),
        request._replace(headers=((b"content-type", data),)),
    ):
        found = read_request(form, RULES)
        if isinstance(found, TokenRefusal):
            refusal(found, CORRELATION_ID, unix=1e9)
    for target in (data, INSTANCE_PATH.encode() + b"?authorization_endpoint=" + data):
        discovery(request._replace(method=b"GET", target=target), "https://login.microsoftonline.com")


def _gateway_reviews(data: bytes) -> None:
    for status in (201, 500):
        response = ApiResponse(status, data)
        caller = read_token_review(response, AUDIENCE)
        read_access_review(response, caller if isinstance(caller, Caller) else Caller("", "", (), ()))


def _page(data: bytes) -> None:
    """Explain an assertion with the claims `data` as the page does, with the credential it missed."""
    text = data.decode("latin-1")
    tokens.decode(text)
    presented = tokens.Presented(text, text, text)
    explanation.nearest(presented, [CREDENTIAL])
    explanation.compare(text, CREDENTIAL.issuer)
    for field in explanation.Field:
        explanation.explain(field, text, CREDENTIAL.issuer)


def _filters(data: bytes) -> None:
    text = data.decode("latin-1")
    roles.comparisons(text)
    reading.equalities(text, ("name",))


def _graph(data: bytes) -> None:
    roles.graph_comparison(data.decode("latin-1"))


def _objects(data: bytes) -> None:
    objects.parse_page(data)
    objects.parse_object(data)
    objects.parse_status(400, data)
    objects.parse_event(data)
    store.certificates_in({"data": dict.fromkeys(("ca.crt", "ca.key"), data.decode("latin-1"))})


class _Stream:
    """A connection whose other end has sent everything."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def read(self, size: int) -> bytes:
        """Return the next piece."""
        piece, self._data = bytes(self._data[: min(size, _PIECE)]), self._data[min(size, _PIECE) :]
        return piece


def _watch(data: bytes) -> None:
    """Split the lines of a watch whose body arrives in many pieces."""

    async def read() -> None:
        """Return the next piece."""
        exchange = api._Exchange(cast("Any", _Stream(data)), cast("Any", None))
        exchange._feed(b"HTTP/1.1 200 OK\r\n\r\n")
        async for _ in api._lines(exchange, b""):
            pass

    asyncio.run(read())


def _certificates(data: bytes) -> None:
    certificates = _ISSUED[0] if _ISSUED else issuer_process.issue(IssueAll(_SUBJECT, 1e9, 1e9, 1e9))
    _ISSUED[:] = [certificates]
    issuer_process.issue(Adopt(certificates, _SUBJECT, (data,), 1e9))
    key = Secret(data.decode("latin-1"))
    issuer_process.inspect(CertificateSet(data, key, data, key))


_SUBJECT = Subject("wisp webhook", ("a",))
_ISSUED: list[CertificateSet] = []


def _review(data: bytes) -> None:
    review = reviews.read_review(data)
    reviews.answer(review, reviews.decide(review, account(), POLICY))


_POD = (
    b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","namespace":"n",'
    b'"operation":"CREATE","kind":{"group":"","version":"v1","kind":"Pod"},"object":{"metadata":{"name":"p",'
    b'"labels":{"azure.workload.identity/use":"true"},'
    b'"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"%b}},'
    b'"spec":{"containers":[{"name":"main","image":"i"%b}%b]%b}}}}'
)


def _pod(*parts: bytes) -> bytes:
    return _POD % tuple(part or b"" for part in (*parts, b"", b"", b"", b"")[:4])


_PODS = (
    _pod(b',"azure.workload.identity/skip-containers":"<<*%b>>"'),
    _pod(b',"azure.workload.identity/skip-containers":"<<*a;>>"', b"", b',{"name":"b"}' * 50),
    _pod(b',"azure.workload.identity/service-account-token-expiration":"<<*1>>"'),
    _pod(b',"azure.workload.identity/proxy-memory-request":"<<*1>>Mi"'),
    _pod(b"", b',"env":[{"name":"AZURE_CLIENT_ID","value":"x"}<<*,{"name":"AZURE_CLIENT_ID","value":"x"}>>]'),
    _pod(b"", b',"volumeMounts":[{"name":"a","mountPath":"/a"}<<*,{"name":"azure-identity-token","mountPath":"/v"}>>]'),
    _pod(b"", b"", b'<<*,{"name":"c","image":"i","env":[{"name":"HTTP_PROXY","value":"p"}]}>>'),
    _pod(b"", b"", b"", b',"volumes":[{"name":"a"}<<*,{"name":"azure-identity-token"}>>]'),
    _pod(
        b"", b"", b"", b',"initContainers":[{"name":"i"}<<*,{"name":"azwi-proxy","ports":[{"containerPort":8000}]}>>]'
    ),
    _pod(b"", b"", b"", b',"x":<<*[>>'),
    _pod(b"", b"", b"", b',"x":[<<*[],>>[]]'),
)


def _annotations(data: bytes) -> None:
    """Search for misspelled keys among as many different annotations as there are lines in `data`."""
    annotations.correct_spelling.cache_clear()
    annotations.is_related.cache_clear()
    found = {f"{key}{number}": "x" for number, key in enumerate(data.decode("latin-1").split("\n"))}
    pod = {"metadata": {"labels": found, "annotations": found}}
    warnings.warnings_about_unlabelled(pod["metadata"], {"metadata": {"annotations": found}})
    annotations.check_types(pod["metadata"], "/metadata")


def _values(data: bytes) -> None:
    text = data.decode("latin-1")
    policy.parse_quantity(text)
    annotations.parse_integer(text)
    annotations.correct_spelling(text)
    annotations.read_skipped({"azure.workload.identity/skip-containers": text})


def _manifest(data: bytes) -> None:
    for document in manifests.read_documents(data.decode(), "f"):
        manifests.as_yaml(document.content)


def _layout(data: bytes) -> None:
    """Change every document that is a map, and preserve its layout."""
    operations: list[patch.Operation] = [{"op": "add", "path": "/novel", "value": [{"name": "a", "value": "1"}]}]
    for document in manifests.read_documents(data.decode(), "f"):
        if type(document.content) is dict:
            manifests.changed_yaml(document, patch.apply(document.content, operations), operations)


_GET = b"GET /metadata/identity/oauth2/token?<<*%b>> HTTP/1.1\r\nHost: x\r\n\r\n"
_HEADERS = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: <<*%b>>\r\nMetadata: true\r\n\r\n"
_JSON = (b"<<*%b>>", b'{"error":"invalid_client","error_description":"<<*%b>>"}', b'{"error":<<*%b>>}')
_ENTRA = (
    *_JSON,
    b'{"access_token":"<<*%b>>","expires_in":"86399"}',
    b'{"error":"e","error_codes":[1<<*,1>>]}',
    b'{"error":"e"<<*,"error_description":"d">>}',
    b'{"error":"e","error_codes":[700213],"error_description":"AADSTS700213: <<*%b>>"}',
)

PARSERS: dict[str, Parser] = {
    "head": Parser(_head, (b"GET /<<*%b>> HTTP/1.1\r\nHost: x", _HEADERS), (b"\r\nX: y", b"\r\nHost: x", b"close,")),
    "connection": Parser(
        _connection,
        (b"<<*%b>>", _GET, _HEADERS, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n<<*%b>>"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"),
        corpora=("connection", "sidecar"),
    ),
    "connection in pieces": Parser(
        lambda data: _connection(data, 256), (b"<<*%b>>", _GET, _HEADERS), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",)
    ),
    "chunked body": Parser(
        _chunked,
        (b"<<*%b>>", b"5;<<*%b>>\r\nhello\r\n0\r\n\r\n", b"0\r\nT: <<*%b>>\r\n\r\n"),
        (b"1\r\na\r\n", b"1;a=b\r\na\r\n", b"00000001\r\na\r\n"),
    ),
    "response": Parser(
        _received,
        (
            b"<<*%b>>",
            b"HTTP/1.1 200 OK\r\nX: <<*%b>>\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n<<*%b>>",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n<<*%b>>0\r\n\r\n",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"1\r\na\r\n", b"\r\nX: y"),
        corpora=("node",),
    ),
    "request": Parser(
        _request,
        (b"<<*%b>>", b"/metadata/identity/oauth2/token?<<*%b>>", b"/metadata/instance?<<*%b>>", b"http://<<*%b>>/"),
        (b"resource=a&", b"client_id=a&", b"%41", b"&&"),
    ),
    "target": Parser(parse_target, (b"/<<*%b>>", b"http://<<*%b>>", b"/?<<*%b>>")),
    "masking": Parser(lambda data: masked(data.decode("latin-1")), (b"<<*%b>>", b"eyJhbGci<<*%b>>.a.b", b"<<*x%b.>>")),
    "masking, cut": Parser(lambda data: masked(data.decode("latin-1"), cut=True)),
    "Entra's answer": Parser(
        _interpret, _ENTRA, (b'{"error":"e"},', b"\\ud800", b"1,", b"Trace ID: "), corpora=("authority",)
    ),
    "Retry-After": Parser(_retry_after, (b"<<*%b>>", b"Mon, 01 Jan 2024 00:00:00 <<*%b>>", b"<<*%b>> 00:00:00 GMT")),
    "claims": Parser(lambda data: interpret.claims_of(data.decode("latin-1")), (b"a.<<*%b>>.c",), (b"eyJhIjox",)),
    "assertion": Parser(
        lambda data: read_assertion(data.decode("utf-8", "surrogateescape")),
        (b"<<*%b>>", b"eyJhbGciOiJSUzI1NiJ9.<<*%b>>.c2ln"),
        corpora=("assertion",),
    ),
    "token request": Parser(
        _form,
        (
            b"<<*%b>>",
            b"grant_type=client_credentials&client_id=a&client_assertion_type=t&scope=https://<<*%b>>/.default",
        ),
        (b"https://a/.default ", b"&a=b", b"%2F"),
        corpora=("assertion",),
    ),
    "gateway's token request": Parser(
        _gateway,
        (
            b"<<*%b>>",
            b"client_id=a&scope=<<*%b>>",
            b"client_assertion_type=t&client_assertion=<<*%b>>",
            b'{"access_token":<<*%b>>}',
        ),
        (b"a&", b"a=b&a=b", b"%2F", b"client-request-id=", b"https://a/.default ", b"openid "),
        corpora=("gateway",),
    ),
    "gateway's assertion": Parser(
        lambda data: examine(Secret(data.decode("utf-8", "surrogateescape")), AUDIENCE, 1e9),
        (b"<<*%b>>", b"a.<<*%b>>.c2ln", b"e30.eyJh<<*%b>>.c2ln"),
        (b"eyJh", b"W10", b"W1tb", b"."),
    ),
    "gateway's reviews": Parser(
        _gateway_reviews,
        (
            b"<<*%b>>",
            b'{"status":{"audiences":["api://AKSIdentityBinding"],"user":{"username":"system:serviceaccount:a:<<*%b>>"}}}',
            b'{"status":{"authenticated":true,"audiences":["api://AKSIdentityBinding"<<*,"a">>],"user":{"username":""}}}',
            b'{"status":{"authenticated":true,"error":"<<*%b>>"}}',
            b'{"message":"<<*%b>>"}',
        ),
    ),
    "page": Parser(_page, units=(b"https://", b"system:serviceaccount:", b"x/", b"a.")),
    "edit distance": Parser(lambda data: explanation.distance(data.decode("latin-1"), CREDENTIAL.issuer)),
    "filters": Parser(
        _filters,
        (b"<<*%b>>", b"name eq '<<*%b>>"),
        (b"name eq 'a' and ", b"name eq ", b"a "),
        refusals=(ResourceError,),
    ),
    "Graph's filter": Parser(_graph, (b"<<*%b>>", b"a/any(<<*%b>>:x) eq 'a'"), (b"a/any(", b"a:")),
    "API objects": Parser(
        _objects,
        (
            *_JSON,
            b'{"metadata":{"name":"<<*%b>>"}}',
            b'{"metadata":{},"items":[<<*{"metadata":{"name":"a"}},>>]}',
            b'{"type":"ERROR","object":{"code":1,"message":"<<*%b>>"}}',
            b'{"type":"<<*%b>>","object":{}}',
        ),
    ),
    "watch": Parser(
        _watch, units=(b'{"type":"BOOKMARK"}\n',), refusals=(objects.ApiUnavailableError,), longest=1 << 20
    ),
    "certificates": Parser(
        _certificates,
        (b"<<*%b>>", b"-----BEGIN CERTIFICATE-----\n<<*%b>>\n-----END CERTIFICATE-----\n"),
        (
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            b"-----BEGIN PRIVATE KEY-----\n",
            b"-----BEGIN CERTIFICATE-----\n",
        ),
    ),
    "review": Parser(_review, (*_PODS, b"<<*%b>>"), refusals=(WispError, msgspec.DecodeError, UnicodeDecodeError)),
    "annotations": Parser(
        _annotations,
        (b"<<*%b>>", b"<<*azure.workload.identity/client-ids\n>>", b"<<*azure.workload.identity.%b\n>>"),
    ),
    "values of annotations": Parser(
        _values,
        (b"<<*%b>>", b"1<<*%b>>Mi", b"azure.workload.identity/<<*%b>>"),
        (b"a;", b"1.", b"-0"),
        refusals=(WispError, ValueError),
    ),
    "manifest": Parser(
        _manifest,
        (b"<<*%b>>", b"a: b\n...<<*%b>>x", b"<<*%b>>a: b\n"),
        (b"#\r\n", b"# a\r\n\r\n", b"---\n", b"%YAML 1.1\n", b"- a\n", b"a: &a\n", b"--- a\n...\n"),
        refusals=(WispError, UnicodeDecodeError),
    ),
    "layout of a manifest": Parser(
        _layout,
        (b"a: b\n<<*%b>>\n", b"<<*%b>>a: b\n", b"a: [<<*%b>>]\n", b"<<*- %b\n>>", b"a: |\n<<*  %b\n>>\nc: d\n"),
        (
            b"# a\n",
            b"#\r\n",
            b"\n",
            b"k: v # c\n",
            b"- a\n",
            b"a: {b: c}\n",
            b"a: &a [b]\n",
            b"b: *a\n",
            b"---\na: b\n",
        ),
        refusals=(WispError, UnicodeDecodeError),
        longest=1 << 15,
    ),
    "a program's last words": Parser(lambda data: tail(data.decode("latin-1"))),
}
