"""Answers of the token service, request by request, with a simulated Entra, clock and log."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.fakes import (
    ARM,
    ASK,
    CLIENT_ID,
    Clock,
    HeldExchange,
    UnixClock,
    granted,
    token_request,
    token_target,
)
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.entra.messages import Refused, TokenKey, unavailable
from wisp.entra.tokens import Clocks, TokenStore
from wisp.http.messages import Reject, Request, Response
from wisp.imds.identities import Identities
from wisp.imds.passthrough import AlreadyForwarded, ForwardedRequest
from wisp.proxy.app import Front
from wisp.proxy.metrics import Metrics
from wisp.proxy.token_service import OtherEndpoints, TokenService

OTHER = "11111111-2222-3333-4444-555555555555"


class Sink:
    """A log in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._path = path
        self.log = Log("debug", self._file.fileno())

    def events(self) -> list[str]:
        """Return the log lines of an event."""
        return [json.loads(line)["event"] for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Bench:
    """The sidecar's application without sockets."""

    sink: Sink
    client_id: str | None = CLIENT_ID
    clock: Clock = field(default_factory=Clock)
    entra: HeldExchange = field(default_factory=HeldExchange)
    metrics: Metrics = field(default_factory=Metrics)
    replies: list[Response] = field(default_factory=list)
    passed: list[ForwardedRequest] = field(default_factory=list)
    returned: list[bytes] = field(default_factory=list)
    loads: int = 0
    identities: Identities | None = None

    def __post_init__(self) -> None:
        self.store = TokenStore(self.entra.begin, Clocks(self.clock, UnixClock(self.clock), lambda: 0.0))
        self.front = Front(self._load)

    def _load(self) -> TokenService:
        self.loads += 1
        other_endpoints = OtherEndpoints(self.front.health, ("instance",), self._pass_on)
        identities = self.identities or Identities(self.client_id)
        return TokenService(self.store, identities, self.metrics, self.sink.log, other_endpoints)

    def _pass_on(self, judged: ForwardedRequest | AlreadyForwarded, _request: Request) -> Response:
        if isinstance(judged, AlreadyForwarded):
            self.returned.append(judged.mark)
            return Response(508, b"returned")
        self.passed.append(judged)
        return Response(200, b"passed")

    def ask(self, request: Request) -> Response | None:
        """Send a request."""
        response = self.front.answer(request, self.replies.append)
        assert response is None or isinstance(response, Response)
        return response

    def answer(self, request: Request) -> Response:
        """Return the immediate answer to a request."""
        response = self.ask(request)
        assert response is not None
        return response

    def get(self, target: str, method: bytes = b"GET") -> Response:
        """Return the immediate answer to a plain request."""
        return self.answer(token_request(target, method=method, metadata=""))

    def hold(self, value: str = "a-token", ask: TokenKey = ASK) -> None:
        """Put a token into the store."""
        self.store.request(ask, lambda _: None)
        self.entra.land(granted(value))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """Return a sidecar without sockets."""
    sink = Sink(tmp_path / "log")
    yield Bench(sink)
    sink.close()


def document(response: Response | None) -> dict[str, Any]:
    """Return the response's JSON."""
    assert response is not None
    parsed = json.loads(response.body)
    assert isinstance(parsed, dict)
    return parsed


def header(response: Response, name: str) -> str | None:
    """Return a header of the response."""
    pairs = (line.split(": ", 1) for line in response.headers.decode().splitlines())
    return next((value for key, value in pairs if key == name), None)


def test_first_token_is_awaited_and_must_not_be_cached(bench: Bench) -> None:
    """No client or proxy may cache it."""
    assert bench.ask(token_request()) is None
    bench.entra.land(granted("one"))
    (response,) = bench.replies
    assert response.status == 200
    assert document(response)["access_token"] == "one"
    assert header(response, "Cache-Control") == "no-store"
    assert bench.metrics.requests["token"] == 1
    assert bench.metrics.cache_hits == 0


def test_remaining_lifetime_of_a_cached_token_counts_down(bench: Bench) -> None:
    """Its expiry does not change."""
    bench.hold()
    first = document(bench.answer(token_request()))
    bench.clock.now += 100.5
    second = document(bench.answer(token_request()))
    assert (first["expires_in"], second["expires_in"]) == ("86399", "86299")
    assert first["expires_on"] == second["expires_on"]
    assert bench.metrics.cache_hits == 2


def test_renewed_token_is_served_immediately(bench: Bench) -> None:
    """The rendered answer of the old one is dropped, even within the same second."""
    bench.hold("old")
    bench.clock.now += 43200
    assert document(bench.answer(token_request()))["access_token"] == "old"
    bench.entra.land(granted("new"))
    assert document(bench.answer(token_request()))["access_token"] == "new"


@pytest.mark.parametrize(
    "headers, status",
    [
        ((("host", "rebind.test"),), 421),
        ((("host", "localhost"), ("origin", "null")), 403),
        ((("host", "localhost"), ("sec-fetch-site", "cross-site")), 403),
        ((("host", "localhost"), ("metadata", "true")), 400),
        ((("host", "localhost"), ("secret", ""), ("secret", "")), 400),
    ],
    ids=["host", "origin", "site", "metadata twice", "secret twice"],
)
@pytest.mark.parametrize("identifier", [(), (("x-ms-client-request-id", "1"),)], ids=["plain", "with an id"])
def test_cached_route_is_not_used_for_other_deciding_headers(
    bench: Bench, headers: tuple[tuple[str, str], ...], status: int, identifier: tuple[tuple[str, str], ...]
) -> None:
    """A request that every route rejects is not answered like an accepted one with the same target."""
    bench.hold()
    good = _with_headers(token_request(), ("host", "localhost"), *identifier)
    bad = _with_headers(token_request(), *headers, *identifier)
    for request, expected in ((good, 200), (bad, status)) * 2 + ((bad, status), (good, 200)):
        assert bench.answer(request).status == expected


def _with_headers(request: Request, *headers: tuple[str, str]) -> Request:
    return request._replace(headers=(*request.headers, *((name.encode(), value.encode()) for name, value in headers)))


@pytest.mark.parametrize("target", ["/readyz", "/healthz", "/READYZ/", "http://127.0.0.1/healthz"])
def test_health_needs_no_identity_header_but_rejects_web_pages(bench: Bench, target: str) -> None:
    bench.identities = Identities(CLIENT_ID, header=Secret("x"), header_required=True)
    plain = token_request(target, metadata="", host="localhost:8000")
    assert bench.answer(plain).status == 200
    assert bench.answer(token_request("/metrics", host="localhost:8000")).status == 401
    assert bench.answer(token_request(target, host="rebind.test")).status == 421
    assert bench.answer(token_request(target, host="localhost", origin="http://localhost")).status == 403


@pytest.mark.parametrize("size", [10, 20_000], ids=["small", "large"])
def test_each_of_many_tokens_is_served_for_its_own_request(bench: Bench, size: int) -> None:
    """Whether its rendered answer is cached or not."""
    for number in range(100):
        ask = ASK._replace(resource=f"https://{number}/")
        bench.hold(f"{number}" + "x" * size, ask)
    for number in range(100):
        got = document(bench.answer(token_request(token_target(f"https://{number}/"))))
        assert got["access_token"] == f"{number}" + "x" * size
        assert got["resource"] == f"https://{number}/"


@pytest.mark.parametrize(
    "parameters, client_id",
    [
        ({}, CLIENT_ID),
        ({"client_id": ""}, CLIENT_ID),
        ({"client_id": OTHER}, OTHER),
        ({"client_id": CLIENT_ID.upper()}, CLIENT_ID),
    ],
    ids=["default", "empty", "another", "in capitals"],
)
def test_client_id_defaults_to_the_pods_and_is_normalised(
    bench: Bench, parameters: dict[str, str], client_id: str
) -> None:
    bench.ask(token_request(token_target(**parameters)))
    assert bench.entra.asked == [TokenKey(client_id, ARM)]


NAMED = "aaaaaaaa-1111-2222-3333-444444444444"
OF_ITSELF = granted("its-own")._replace(object_id=NAMED, resource_id="/subscriptions/s/x")
NOT_FOUND = {"error": "invalid_request", "error_description": "Identity not found"}


@pytest.mark.parametrize(
    "selector",
    [{"object_id": NAMED.upper()}, {"msi_res_id": "/SUBSCRIPTIONS/s/x/"}, {"mi_res_id": "/subscriptions/s/x"}],
    ids=lambda selector: next(iter(selector)),
)
def test_unknown_name_is_resolved_by_the_first_token(bench: Bench, selector: dict[str, str]) -> None:
    """Only a token can tell whether the name is the pod's: its claims decide, and then it is known."""
    request = token_request(token_target(**selector))
    assert bench.ask(request) is None
    assert bench.entra.asked == [ASK]
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["access_token"] == "its-own"
    assert document(bench.answer(request))["access_token"] == "its-own"
    other = token_request(token_target("https://vault.azure.net", **selector))
    assert bench.ask(other) is None
    assert bench.entra.asked == [ASK, ASK._replace(resource="https://vault.azure.net")]


@pytest.mark.parametrize("parameter", ["object_id", "msi_res_id", "mi_res_id"])
def test_unknown_identity_gets_no_token(bench: Bench, parameter: str) -> None:
    """Once the pod's own names are known, Entra is not asked."""
    request = token_request(token_target(**{parameter: OTHER}))
    assert bench.ask(request) is None
    bench.entra.land(OF_ITSELF)
    assert (bench.replies[0].status, document(bench.replies[0])) == (400, NOT_FOUND)
    assert bench.metrics.requests["token"] == 0
    assert document(bench.answer(request)) == NOT_FOUND
    another = bench.answer(token_request(token_target("https://vault.azure.net", **{parameter: OTHER})))
    assert (another.status, document(another)) == (400, NOT_FOUND)
    assert bench.entra.asked == [ASK]


def test_name_selects_no_token_without_identity_claims(bench: Bench) -> None:
    """One token is enough to know."""
    request = token_request(token_target(object_id=NAMED))
    assert bench.ask(request) is None
    bench.entra.land(granted())
    assert [document(bench.replies[0]), document(bench.answer(request))] == [NOT_FOUND, NOT_FOUND]
    assert bench.entra.asked == [ASK]


def test_temporary_fault_does_not_mean_unknown_identity(bench: Bench) -> None:
    assert bench.ask(token_request(token_target(object_id=NAMED))) is None
    bench.entra.land(unavailable("down"))
    assert (bench.replies[0].status, header(bench.replies[0], "Retry-After")) == (503, "1")


def test_client_id_must_be_a_guid(bench: Bench) -> None:
    assert document(bench.answer(token_request(token_target(client_id="app"))))["error_description"] == (
        "Identity not found"
    )


def test_client_must_name_an_identity_without_a_default(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "log")
    bench = Bench(sink, client_id=None)
    assert document(bench.answer(token_request()))["error_description"] == "Identity not found"
    assert bench.ask(token_request(token_target(client_id=OTHER))) is None
    sink.close()


ENTRA = "AADSTS700016: Application with identifier 'x' was not found. Trace ID: 1 Correlation ID: 2"


@pytest.mark.parametrize(
    "refused, status, retry_after, outcome",
    [
        pytest.param(Refused(400, "unauthorized_client", ENTRA, "refused", 700016), 400, None, "refused", id="400"),
        pytest.param(Refused(401, "invalid_client", ENTRA, "refused", 700016), 401, None, "refused", id="401"),
        pytest.param(Refused(403, "access_denied", ENTRA, "refused"), 403, None, "refused", id="403"),
        pytest.param(
            Refused(429, "too_many_requests", ENTRA, "throttled", None, 16.4), 429, "17", "failed", id="throttled"
        ),
        pytest.param(unavailable(ENTRA, retry_after=0.2), 503, "1", "failed", id="a moment"),
        pytest.param(unavailable(ENTRA), 503, "1", "failed", id="unavailable"),
        pytest.param(
            unavailable(ENTRA, retry_after=4082.211883972744 + 30 - 4082.211883972744),
            503,
            "30",
            "failed",
            id="the error of floating point arithmetic on a clock",
        ),
    ],
)
def test_error_has_entras_text_and_a_rounded_up_retry_after(
    bench: Bench, refused: Refused, status: int, retry_after: str | None, outcome: str
) -> None:
    """Rounded down, the client would come too soon."""
    bench.ask(token_request())
    bench.entra.land(refused)
    (response,) = bench.replies
    assert response.status == status
    assert document(response) == {"error": refused.error, "error_description": ENTRA}
    assert header(response, "Retry-After") == retry_after
    assert bench.metrics.requests[outcome] == 1


PATHS = ["/metadata/versions", "/metadata/identity/getplatformmetadata", "/metadata/identity/info", "/", "/x%2f"]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"OPTIONS"])
def test_unknown_path_is_404_for_every_method(bench: Bench, target: str, method: bytes) -> None:
    response = bench.get(target, method)
    assert (response.status, document(response)["error"]) == (404, "not_found")


def test_allowed_path_is_forwarded_with_the_clients_headers(bench: Bench) -> None:
    """Only names that the sidecar is configured to forward."""
    for agent in ("one", "two"):
        request = token_request("/metadata/instance?a=b", user_agent=agent, x_ms_client_request_id=f"id-{agent}")
        assert bench.answer(request).body == b"passed"
        assert f"user-agent: {agent}\r\nx-ms-client-request-id: id-{agent}\r\n".encode() in bench.passed[-1].headers
    assert bench.answer(token_request("/metadata/versions")).status == 404
    assert bench.answer(token_request("/metadata/instance", metadata="")).status == 400
    assert bench.answer(token_request("/metadata/instance?a=b", x_wisp_passed="1")).status == 508
    assert [forward.target for forward in bench.passed] == [b"/metadata/instance?a=b"] * 2
    assert bench.returned == [b"1"]
    assert bench.metrics.requests["refused"] == 2


PAGES = ["/readyz", "/healthz", "/metrics"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("spelling", ["{}", "{}/", "/{}", "{}?verbose", "http://127.0.0.1:8000{}", "{}#x"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_pages_are_served_in_the_usual_spellings(bench: Bench, page: str, spelling: str, method: bytes) -> None:
    assert bench.get(spelling.format(page), method).status == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", [b"POST", b"OPTIONS", b"PUT", b"DELETE"])
def test_pages_reject_other_methods_with_allow(bench: Bench, page: str, method: bytes) -> None:
    response = bench.get(page, method)
    assert (response.status, header(response, "Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
def test_token_path_rejects_other_methods_with_allow(bench: Bench, method: bytes) -> None:
    response = bench.answer(token_request(method=method))
    assert (response.status, header(response, "Allow")) == (405, "GET, POST")
    assert document(response)["error"] == "method_not_allowed"


def test_readiness_does_not_load_the_token_service(bench: Bench) -> None:
    assert bench.get("/readyz").body == b'{"status":"ok"}'
    assert bench.get("/healthz").status == 200
    assert bench.loads == 0
    bench.hold()
    for _ in range(3):
        bench.answer(token_request())
    assert bench.loads == 1


@pytest.mark.parametrize("target, probed", [("/readyz", True), ("/healthz", True), ("/metrics", False)])
def test_probe_is_noted_and_loads_nothing(bench: Bench, target: str, *, probed: bool) -> None:
    """The sidecar loads the rest once the probe of its postStart hook is answered."""
    assert not bench.front.probed
    bench.get(target)
    assert (bench.front.probed, bench.loads == 0) == (probed, probed)


@pytest.mark.parametrize("spelling", ["/readyz", "/readyz/"])
def test_stopping_sidecar_is_alive_but_not_ready(bench: Bench, spelling: str) -> None:
    bench.front.ready = False
    assert bench.get(spelling).status == 503
    assert bench.get("/healthz").status == 200


def test_malformed_request_gets_a_json_error(bench: Bench) -> None:
    response = bench.front.rejected(Reject(431, "The request head is longer than 16384 bytes"))
    assert response.status == 431
    assert document(response)["error"] == "invalid_request"
    assert header(bench.front.rejected(Reject(405, "The request method is not known")), "Allow") == "GET, POST"
    assert bench.metrics.requests["rejected"] == 2


@pytest.mark.parametrize(
    "identifier, echoed",
    [
        pytest.param("6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1", True, id="a GUID"),
        pytest.param("x" * 128, True, id="as long as can be"),
        pytest.param("x" * 129, False, id="too long"),
        pytest.param("a b", False, id="a blank"),
        pytest.param("a\tb", False, id="a tab"),
        pytest.param("é", False, id="beyond ASCII"),
        pytest.param("", False, id="empty"),
    ],
)
def test_valid_request_id_is_returned_with_every_answer(bench: Bench, identifier: str, echoed: bool) -> None:  # noqa: FBT001
    """It does not change the answer's other bytes."""
    bench.hold()
    for target in (token_target(), "/metadata/versions", token_target("")):
        response = bench.answer(token_request(target, x_ms_client_request_id=identifier))
        assert header(response, "x-ms-client-request-id") == (identifier if echoed else None)
    assert header(bench.answer(token_request()), "x-ms-client-request-id") is None


def test_cached_answer_does_not_depend_on_the_request_id(bench: Bench) -> None:
    bench.hold()
    bodies = {bench.answer(token_request(x_ms_client_request_id=str(number))).body for number in range(100)}
    assert len(bodies) == 1
    assert len(bench.front.service._router._routes) == 0


def test_request_cache_is_bounded(bench: Bench) -> None:
    """In number of entries and in the size of each."""
    for number in range(1000):
        bench.get(f"/{number}")
        bench.get("/" + "x" * 3000 + str(number))
        bench.answer(token_request(token_target(""), x_padding="x" * 4000 + str(number)))
    remembered = bench.front.service._router._routes
    size = sum(len(request.target) + sum(map(len, sum(request.headers, ()))) for request in remembered)
    assert len(remembered) <= 64
    assert size <= 64 * 2048


@pytest.mark.parametrize("parameters", [{}, {"object_id": OTHER}], ids=["token", "inquiry"])
def test_waiting_request_is_not_held_in_memory(bench: Bench, parameters: dict[str, str]) -> None:
    """Hundreds may wait, with heads and bodies of 80 KiB; only what the answer repeats is held."""
    large = b"x" * 10_000
    request = token_request(token_target(**parameters))
    headers = (*request.headers, (b"x-large", large), (b"x-ms-client-request-id", b"an-id"))
    request = request._replace(headers=headers)
    del headers
    references = sys.getrefcount(large)
    assert bench.ask(request) is None
    del request
    assert sys.getrefcount(large) == references - 1
    bench.entra.land(granted(expires_in=3600))
    assert header(bench.replies[0], "x-ms-client-request-id") == "an-id"


def test_metrics_page_has_prometheus_type_and_counts(bench: Bench) -> None:
    bench.hold()
    bench.answer(token_request())
    bench.get("/x")
    response = bench.get("/metrics")
    assert response.content_type == b"text/plain; version=0.0.4; charset=utf-8"
    assert b'wisp_requests_total{outcome="token"} 1' in response.body
    assert b'wisp_requests_total{outcome="refused"} 1' in response.body
    assert b"wisp_tokens 1" in response.body
    assert b"wisp_token_expiry_timestamp_seconds 1790086399" in response.body


def test_token_is_only_in_its_answer(bench: Bench) -> None:
    """It is neither logged nor in the metrics."""
    bench.hold("SECRET")
    bench.answer(token_request())
    bench.get("/x")
    bench.front.rejected(Reject(400, "x"))
    assert b"SECRET" not in bench.get("/metrics").body
    assert bench.sink.events() == ["token answered", "request refused", "request rejected"]
    assert "SECRET" not in bench.sink._path.read_text()


def test_token_for_a_client_that_has_gone_is_cached(bench: Bench) -> None:
    bench.ask(token_request())
    bench.entra.land(granted("one"))
    assert document(bench.answer(token_request()))["access_token"] == "one"


def test_bypass_cache_waits_for_the_new_token(bench: Bench) -> None:
    """The client does not get the cached one."""
    bench.hold("an-old-token")
    bench.clock.now += 2.0
    assert bench.ask(token_request(token_target(bypass_cache="true"))) is None
    bench.entra.land(granted("a-new-token"))
    assert document(bench.replies[0])["access_token"] == "a-new-token"


def test_bypass_cache_causes_at_most_one_exchange_per_second(bench: Bench) -> None:
    bench.hold("a-token")
    assert document(bench.answer(token_request(token_target(bypass_cache="true"))))["access_token"] == "a-token"


def test_bypass_cache_serves_the_valid_token_if_the_renewal_fails(bench: Bench) -> None:
    bench.hold("an-old-token")
    bench.clock.now += 2.0
    assert bench.ask(token_request(token_target(bypass_cache="true"))) is None
    bench.entra.land(unavailable("down"))
    assert document(bench.replies[0])["access_token"] == "an-old-token"


@pytest.mark.parametrize(
    "selector", [{"object_id": NAMED.upper()}, {"msi_res_id": "/SUBSCRIPTIONS/s/x/"}], ids=["object_id", "msi_res_id"]
)
def test_other_identity_is_known_after_its_first_token(bench: Bench, selector: dict[str, str]) -> None:
    """A name that could not be resolved at first is resolved by a token requested by client id."""
    request = token_request(token_target(**selector))
    bench.ask(request)
    bench.entra.land(granted()._replace(object_id=CLIENT_ID, resource_id="/subscriptions/own"))
    assert document(bench.answer(request)) == NOT_FOUND
    bench.ask(token_request(token_target(client_id=OTHER)))
    bench.entra.land(OF_ITSELF)
    assert document(bench.answer(request))["client_id"] == OTHER


@pytest.mark.parametrize("code", [700016, 70021, 70025, 700211, 700212, 700213, 7002138])
def test_refused_client_id_is_reported_as_identity_not_found(bench: Bench, code: int) -> None:
    """In the words that SDKs recognise, with Entra's reason."""
    assert bench.ask(token_request(token_target(client_id=OTHER))) is None
    while not bench.replies:  # codes that may pass are asked for again
        bench.clock.now = max(bench.clock.now, bench.store.due() or 0.0)
        bench.store.tick()
        bench.entra.land(Refused(401, "unauthorized_client", f"AADSTS{code}: no such application", "refused", code))
    answer = bench.replies[0]
    assert (answer.status, document(answer)["error"]) == (400, "invalid_request")
    assert document(answer)["error_description"] == f"Identity not found: AADSTS{code}: no such application"


@pytest.mark.parametrize("name", ["x_identity_header", "secret"])
def test_app_service_error_has_its_own_fields(bench: Bench, name: str) -> None:
    """Some SDKs read only those."""
    answer = document(bench.answer(token_request(token_target(""), **{name: "a-header"})))  # type: ignore[arg-type]
    assert answer["error"] == "invalid_request"
    assert (answer["statusCode"], answer["message"]) == (400, answer["error_description"])


def test_refusal_is_rendered_once_per_dialect(bench: Bench) -> None:
    """However often it is served; the number of cached refusals is bounded."""
    plain = token_request(metadata="")
    app_service = token_request(metadata="", secret="a-header")
    first = bench.answer(plain)
    assert "statusCode" in document(bench.answer(app_service))
    assert bench.answer(plain) is first
    assert "statusCode" not in document(first)
    assert bench.metrics.requests["refused"] == 3
    for name in ("api-version=1", "resource=a", "api-version=2018-02-01", *(f"client_id={n}&client_id=" for n in "ab")):
        for method in (b"GET", b"POST", b"PUT"):
            bench.answer(token_request(f"/metadata/identity/oauth2/token?{name}", method=method))
            bench.answer(token_request(f"/metadata/instance?{name}", method=method, secret="a-header"))
    assert len(bench.front.service._renderer._refusals) <= 8


def test_cached_refusal_has_each_clients_request_id(bench: Bench) -> None:
    answers = [bench.answer(token_request(metadata="", x_ms_client_request_id=name)) for name in ("one", "two", "")]
    assert [b"one" in answer.headers for answer in answers] == [True, False, False]
    assert [b"two" in answer.headers for answer in answers] == [False, True, False]


def digest_of(token: str) -> str:
    """Return the hash that MSAL sends for a rejected token."""
    return hashlib.sha256(token.encode()).hexdigest()


def rejecting(dialect: str, token: str, **parameters: str) -> Request:
    """Return a request of a client whose token was rejected."""
    query = {"xms_cc": "cp1", "token_sha256_to_refresh": digest_of(token), **parameters}
    if dialect == "POST":
        body = urlencode({"resource": ARM, **query}).encode()
        return token_request("/metadata/identity/oauth2/token", method=b"POST")._replace(body=body)
    if dialect == "IMDS":
        return token_request(token_target(**query))
    version, name = {"2019": ("2019-08-01", "x_identity_header"), "2017": ("2017-09-01", "secret")}[dialect]
    return token_request(token_target(**{"api-version": version, **query}), metadata="", **{name: "true"})  # type: ignore[arg-type]


CAPABLE = ASK._replace(capabilities="cp1")
DIALECTS = pytest.mark.parametrize("dialect", ["IMDS", "2019", "2017", "POST"])


@DIALECTS
def test_rejected_token_is_exchanged_once_for_many_clients(bench: Bench, dialect: str) -> None:
    """All get the new token, also clients that name the old one later."""
    bench.hold("old", CAPABLE)
    request = rejecting(dialect, "old")
    assert [bench.ask(request), bench.ask(request)] == [None, None]
    bench.entra.land(granted("new"))
    answers = [*bench.replies, bench.answer(request), bench.answer(rejecting(dialect, "other"))]
    assert [document(answer)["access_token"] for answer in answers] == ["new"] * 4
    assert bench.entra.asked == [CAPABLE, CAPABLE._replace(newer=True)]
    assert bench.ask(rejecting(dialect, "new")) is None


@DIALECTS
def test_rejected_token_is_not_served_while_entra_fails(bench: Bench, dialect: str) -> None:
    """All clients get the fault."""
    bench.hold("old", CAPABLE)
    assert bench.ask(rejecting(dialect, "old")) is None
    bench.entra.land(unavailable("down"))
    plain = token_request(token_target(xms_cc="cp1"))
    assert [answer.status for answer in (*bench.replies, bench.answer(plain))] == [503, 503]


@DIALECTS
@pytest.mark.parametrize("digest", ["", "x", digest_of("another"), "old"])
def test_unknown_hash_gets_the_cached_token(bench: Bench, dialect: str, digest: str) -> None:
    bench.hold("old", CAPABLE)
    request = rejecting(dialect, "", token_sha256_to_refresh=digest)
    assert document(bench.answer(request))["access_token"] == "old"
    assert bench.entra.asked == [CAPABLE]


def test_bypass_cache_with_a_hash_never_serves_the_rejected_token(bench: Bench) -> None:
    """It returns a newer token, or the cached valid one if Entra fails."""
    bench.hold("old", CAPABLE)
    bench.clock.now += 2
    assert bench.ask(rejecting("IMDS", "another", bypass_cache="true")) is None
    bench.entra.land(unavailable("down"))
    assert document(bench.replies[0])["access_token"] == "old"
    bench.clock.now += 60
    assert bench.ask(rejecting("IMDS", "old", bypass_cache="true")) is None
    bench.entra.land(unavailable("down"))
    assert bench.replies[1].status == 503


def test_rejected_token_of_an_identity_selected_by_name_is_exchanged(bench: Bench) -> None:
    """The name may be known from the first token or still unknown."""
    bench.hold("old", CAPABLE)
    assert bench.ask(rejecting("IMDS", "old", object_id=NAMED)) is None
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["access_token"] == "its-own"
    assert bench.ask(rejecting("IMDS", "its-own", object_id=NAMED)) is None
    bench.clock.now += 1
    bench.store.tick()
    assert bench.entra.asked == [CAPABLE, *[CAPABLE._replace(newer=True)] * 2]


def test_rejection_is_logged_once_without_token_and_hash(bench: Bench) -> None:
    bench.hold("old-token", CAPABLE)
    for _ in range(2):
        bench.ask(rejecting("IMDS", "old-token"))
    assert bench.sink.events().count("token revoked") == 1
    logged = bench.sink._path.read_text()
    assert "old-token" not in logged
    assert digest_of("old-token") not in logged


BOTH = {"client_id": CLIENT_ID, "msi_res_id": "/SUBSCRIPTIONS/s/x/"}


def test_two_selectors_of_the_pods_identity_are_confirmed_by_its_token(bench: Bench) -> None:
    """Its claims tell whether both are its own; then it is known."""
    request = token_request(token_target(**BOTH))
    assert bench.ask(request) is None
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["access_token"] == "its-own"
    assert document(bench.answer(request))["access_token"] == "its-own"
    assert document(bench.answer(token_request(token_target(**BOTH, object_id=NAMED))))["access_token"] == "its-own"
    assert bench.entra.asked == [ASK]


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": CLIENT_ID, "msi_res_id": "/subscriptions/another"},
        {"object_id": OTHER, "mi_res_id": "/subscriptions/y"},
    ],
    ids=["one is another's", "both are"],
)
def test_two_selectors_of_different_identities_are_reported_by_name(bench: Bench, parameters: dict[str, str]) -> None:
    """At the first and every later request."""
    request = token_request(token_target(**parameters))
    assert bench.ask(request) is None
    bench.entra.land(OF_ITSELF)
    for answer in (bench.replies[0], bench.answer(request)):
        assert (answer.status, document(answer)["error"]) == (400, "invalid_request")
        assert all(f"{name}={value}" in document(answer)["error_description"] for name, value in parameters.items())
    assert bench.metrics.requests["token"] == 0
    assert bench.entra.asked == [ASK]


def test_two_selectors_of_another_identity_are_confirmed_by_its_token(bench: Bench) -> None:
    request = token_request(token_target(client_id=OTHER, object_id=NAMED))
    assert bench.ask(request) is None
    assert bench.entra.asked == [TokenKey(OTHER, ARM)]
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["client_id"] == OTHER
    assert bench.answer(token_request(token_target(client_id=CLIENT_ID, object_id=NAMED))).status == 400


def test_two_client_ids_are_rejected_without_an_exchange(bench: Bench) -> None:
    answer = bench.answer(token_request(token_target(client_id=CLIENT_ID) + f"&client_id={OTHER}"))
    assert answer.status == 400
    assert all(client_id in document(answer)["error_description"] for client_id in (CLIENT_ID, OTHER))
    assert bench.entra.asked == []


def test_two_selectors_get_the_fault_while_entra_fails(bench: Bench) -> None:
    """Whether they name one identity is unknown then."""
    assert bench.ask(token_request(token_target(**BOTH))) is None
    bench.entra.land(unavailable("down"))
    assert bench.replies[0].status == 503
