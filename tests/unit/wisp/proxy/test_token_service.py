"""What a client hears, request by request: Entra, the clock and the log are in the test's hands."""

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
    """A log kept in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._path = path
        self.log = Log("debug", self._file.fileno())

    def events(self) -> list[str]:
        """Return what was logged, by name."""
        return [json.loads(line)["event"] for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Bench:
    """A front with all that is behind it."""

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
        beside = OtherEndpoints(self.front.health, ("instance",), self._pass_on)
        identities = self.identities or Identities(self.client_id)
        return TokenService(self.store, identities, self.metrics, self.sink.log, beside)

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
        """Return what a request is answered with at once."""
        response = self.ask(request)
        assert response is not None
        return response

    def get(self, target: str, method: bytes = b"GET") -> Response:
        """Return what a plain request is answered with at once."""
        return self.answer(token_request(target, method=method, metadata=""))

    def hold(self, value: str = "a-token", ask: TokenKey = ASK) -> None:
        """Get a token into the store."""
        self.store.request(ask, lambda _: None)
        self.entra.land(granted(value))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """Give a sidecar without sockets."""
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


def test_the_first_token_is_awaited_and_may_not_be_stored(bench: Bench) -> None:
    """The client waits for it; nobody may store it."""
    assert bench.ask(token_request()) is None
    bench.entra.land(granted("one"))
    (response,) = bench.replies
    assert response.status == 200
    assert document(response)["access_token"] == "one"
    assert header(response, "Cache-Control") == "no-store"
    assert bench.metrics.requests["token"] == 1
    assert bench.metrics.cache_hits == 0


def test_a_cached_token_counts_its_lifetime_down(bench: Bench) -> None:
    """Its remaining life counts down, its end does not move."""
    bench.hold()
    first = document(bench.answer(token_request()))
    bench.clock.now += 100.5
    second = document(bench.answer(token_request()))
    assert (first["expires_in"], second["expires_in"]) == ("86399", "86299")
    assert first["expires_on"] == second["expires_on"]
    assert bench.metrics.cache_hits == 2


def test_a_renewed_token_is_answered_at_once(bench: Bench) -> None:
    """The rendered answer of the old one is forgotten, within the same second too."""
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
def test_a_remembered_route_is_not_that_of_a_request_with_other_deciding_headers(
    bench: Bench, headers: tuple[tuple[str, str], ...], status: int, identifier: tuple[tuple[str, str], ...]
) -> None:
    """A request that every route rejects is distinguished from one that has its target and is answered with a token."""
    bench.hold()
    good = _with_headers(token_request(), ("host", "localhost"), *identifier)
    bad = _with_headers(token_request(), *headers, *identifier)
    for request, expected in ((good, 200), (bad, status)) * 2 + ((bad, status), (good, 200)):
        assert bench.answer(request).status == expected


def _with_headers(request: Request, *headers: tuple[str, str]) -> Request:
    return request._replace(headers=(*request.headers, *((name.encode(), value.encode()) for name, value in headers)))


@pytest.mark.parametrize("target", ["/readyz", "/healthz", "/READYZ/", "http://127.0.0.1/healthz"])
def test_health_is_checked_and_needs_no_identity_header(bench: Bench, target: str) -> None:
    """A probe is answered where the header is required, and a web page is not."""
    bench.identities = Identities(CLIENT_ID, header=Secret("x"), header_required=True)
    plain = token_request(target, metadata="", host="localhost:8000")
    assert bench.answer(plain).status == 200
    assert bench.answer(token_request("/metrics", host="localhost:8000")).status == 401
    assert bench.answer(token_request(target, host="rebind.test")).status == 421
    assert bench.answer(token_request(target, host="localhost", origin="http://localhost")).status == 403


@pytest.mark.parametrize("size", [10, 20_000], ids=["small", "large"])
def test_each_of_many_tokens_is_answered_as_its_own(bench: Bench, size: int) -> None:
    """Each is answered as its own, whether it is remembered rendered or not."""
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
def test_the_client_id_defaults_to_the_pods_and_has_one_spelling(
    bench: Bench, parameters: dict[str, str], client_id: str
) -> None:
    """The pod's own, or the client id that is asked for, in one spelling."""
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
def test_the_first_request_names_the_pods_identity(bench: Bench, selector: dict[str, str]) -> None:
    """By what only a token of it can tell: it is asked for and its own words decide; then it is known."""
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
def test_an_unknown_identity_gets_no_token(bench: Bench, parameter: str) -> None:
    """It gets no token; once the pod's own names are known, Entra is not asked."""
    request = token_request(token_target(**{parameter: OTHER}))
    assert bench.ask(request) is None
    bench.entra.land(OF_ITSELF)
    assert (bench.replies[0].status, document(bench.replies[0])) == (400, NOT_FOUND)
    assert bench.metrics.requests["token"] == 0
    assert document(bench.answer(request)) == NOT_FOUND
    another = bench.answer(token_request(token_target("https://vault.azure.net", **{parameter: OTHER})))
    assert (another.status, document(another)) == (400, NOT_FOUND)
    assert bench.entra.asked == [ASK]


def test_tokens_that_say_nothing_of_themselves(bench: Bench) -> None:
    """Name no identity: nobody gets one who selected by such a name, and one token is enough to know."""
    request = token_request(token_target(object_id=NAMED))
    assert bench.ask(request) is None
    bench.entra.land(granted())
    assert [document(bench.replies[0]), document(bench.answer(request))] == [NOT_FOUND, NOT_FOUND]
    assert bench.entra.asked == [ASK]


def test_whether_it_is_the_pods_identity_cannot_be_told_now(bench: Bench) -> None:
    """A temporary fault does not mean that there is no such identity."""
    assert bench.ask(token_request(token_target(object_id=NAMED))) is None
    bench.entra.land(unavailable("down"))
    assert (bench.replies[0].status, header(bench.replies[0], "Retry-After")) == (503, "1")


def test_a_name_is_not_a_client_id(bench: Bench) -> None:
    """A client id is a GUID."""
    assert document(bench.answer(token_request(token_target(client_id="app"))))["error_description"] == (
        "Identity not found"
    )


def test_without_a_default_identity_the_client_must_name_one(tmp_path: Path) -> None:
    """Where the service account names none, the client has to."""
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
def test_the_client_gets_entras_own_words(
    bench: Bench, refused: Refused, status: int, retry_after: str | None, outcome: str
) -> None:
    """The client hears Entra's own words; a time to wait is rounded up, or it would come too soon."""
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
def test_other_paths_are_not_found_whatever_the_method(bench: Bench, target: str, method: bytes) -> None:
    """They are not there, whatever the method."""
    response = bench.get(target, method)
    assert (response.status, document(response)["error"]) == (404, "not_found")


def test_allowed_paths_are_forwarded_with_each_clients_own_headers(bench: Bench) -> None:
    """Each time with that client's own headers, and only what the sidecar was told to pass on."""
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
def test_pages(bench: Bench, page: str, spelling: str, method: bytes) -> None:
    """They are there in the usual spellings."""
    assert bench.get(spelling.format(page), method).status == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", [b"POST", b"OPTIONS", b"PUT", b"DELETE"])
def test_pages_take_no_other_method(bench: Bench, page: str, method: bytes) -> None:
    """The answer says which they take."""
    response = bench.get(page, method)
    assert (response.status, header(response, "Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
def test_the_token_path_takes_get_and_post_only(bench: Bench, method: bytes) -> None:
    """The answer says so."""
    response = bench.answer(token_request(method=method))
    assert (response.status, header(response, "Allow")) == (405, "GET, POST")
    assert document(response)["error"] == "method_not_allowed"


def test_readiness_needs_no_service(bench: Bench) -> None:
    """It is not even loaded."""
    assert bench.get("/readyz").body == b'{"status":"ok"}'
    assert bench.get("/healthz").status == 200
    assert bench.loads == 0
    bench.hold()
    for _ in range(3):
        bench.answer(token_request())
    assert bench.loads == 1


@pytest.mark.parametrize("target, probed", [("/readyz", True), ("/healthz", True), ("/metrics", False)])
def test_a_probe_is_noted_and_loads_nothing(bench: Bench, target: str, *, probed: bool) -> None:
    """The sidecar loads the rest when the probe of its postStart hook has been answered."""
    assert not bench.front.probed
    bench.get(target)
    assert (bench.front.probed, bench.loads == 0) == (probed, probed)


@pytest.mark.parametrize("spelling", ["/readyz", "/readyz/"])
def test_stopping(bench: Bench, spelling: str) -> None:
    """It is not ready any more, and still alive."""
    bench.front.ready = False
    assert bench.get(spelling).status == 503
    assert bench.get("/healthz").status == 200


def test_bytes_that_are_no_request(bench: Bench) -> None:
    """They are answered in JSON, too."""
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
def test_the_request_id(bench: Bench, identifier: str, echoed: bool) -> None:  # noqa: FBT001
    """It comes back with tokens and errors alike, if it is shaped like one; it does not change the answer's bytes."""
    bench.hold()
    for target in (token_target(), "/metadata/versions", token_target("")):
        response = bench.answer(token_request(target, x_ms_client_request_id=identifier))
        assert header(response, "x-ms-client-request-id") == (identifier if echoed else None)
    assert header(bench.answer(token_request()), "x-ms-client-request-id") is None


def test_an_answer_is_remembered_without_the_request_id(bench: Bench) -> None:
    """Requests that differ in it alone share everything else."""
    bench.hold()
    bodies = {bench.answer(token_request(x_ms_client_request_id=str(number))).body for number in range(100)}
    assert len(bodies) == 1
    assert len(bench.front.service._router._routes) == 0


def test_what_is_remembered_of_requests_is_bounded(bench: Bench) -> None:
    """In number, and each in size."""
    for number in range(1000):
        bench.get(f"/{number}")
        bench.get("/" + "x" * 3000 + str(number))
        bench.answer(token_request(token_target(""), x_padding="x" * 4000 + str(number)))
    remembered = bench.front.service._router._routes
    size = sum(len(each.target) + sum(map(len, sum(each.headers, ()))) for each in remembered)
    assert len(remembered) <= 64
    assert size <= 64 * 2048


@pytest.mark.parametrize("parameters", [{}, {"object_id": OTHER}], ids=["token", "inquiry"])
def test_a_request_that_waits_is_not_kept(bench: Bench, parameters: dict[str, str]) -> None:
    """Hundreds may wait, with heads and bodies of 80 KiB each; what comes back in the answer is kept."""
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


def test_the_metrics_page(bench: Bench) -> None:
    """It is of Prometheus' own type, and counts what happened."""
    bench.hold()
    bench.answer(token_request())
    bench.get("/x")
    response = bench.get("/metrics")
    assert response.content_type == b"text/plain; version=0.0.4; charset=utf-8"
    assert b'wisp_requests_total{outcome="token"} 1' in response.body
    assert b'wisp_requests_total{outcome="refused"} 1' in response.body
    assert b"wisp_tokens 1" in response.body
    assert b"wisp_token_expiry_timestamp_seconds 1790086399" in response.body


def test_no_token_is_logged_or_counted(bench: Bench) -> None:
    """Its bytes are in its answer and nowhere else."""
    bench.hold("SECRET")
    bench.answer(token_request())
    bench.get("/x")
    bench.front.rejected(Reject(400, "x"))
    assert b"SECRET" not in bench.get("/metrics").body
    assert bench.sink.events() == ["token answered", "request refused", "request rejected"]
    assert "SECRET" not in bench.sink._path.read_text()


def test_a_client_that_has_gone(bench: Bench) -> None:
    """Its reply is made and goes nowhere; the token stays for the next."""
    bench.ask(token_request())
    bench.entra.land(granted("one"))
    assert document(bench.answer(token_request()))["access_token"] == "one"


def test_a_renewal_waits_for_the_new_token(bench: Bench) -> None:
    """A client that bypasses the cache hears of the token that comes, not of the one that was there."""
    bench.hold("an-old-token")
    bench.clock.now += 2.0
    assert bench.ask(token_request(token_target(bypass_cache="true"))) is None
    bench.entra.land(granted("a-new-token"))
    assert document(bench.replies[0])["access_token"] == "a-new-token"


def test_renewals_do_not_hammer_entra(bench: Bench) -> None:
    """Within a second of an exchange the token that it gave is new enough."""
    bench.hold("a-token")
    assert document(bench.answer(token_request(token_target(bypass_cache="true"))))["access_token"] == "a-token"


def test_a_renewal_that_fails_leaves_the_token(bench: Bench) -> None:
    """A token that is still valid is better than none."""
    bench.hold("an-old-token")
    bench.clock.now += 2.0
    assert bench.ask(token_request(token_target(bypass_cache="true"))) is None
    bench.entra.land(unavailable("down"))
    assert document(bench.replies[0])["access_token"] == "an-old-token"


@pytest.mark.parametrize(
    "selector", [{"object_id": NAMED.upper()}, {"msi_res_id": "/SUBSCRIPTIONS/s/x/"}], ids=["object_id", "msi_res_id"]
)
def test_another_identity_is_known_once_its_token_told(bench: Bench, selector: dict[str, str]) -> None:
    """A selector that nobody could resolve at first is resolved by what a token asked for by client id said."""
    request = token_request(token_target(**selector))
    bench.ask(request)
    bench.entra.land(granted()._replace(object_id=CLIENT_ID, resource_id="/subscriptions/own"))
    assert document(bench.answer(request)) == NOT_FOUND
    bench.ask(token_request(token_target(client_id=OTHER)))
    bench.entra.land(OF_ITSELF)
    assert document(bench.answer(request))["client_id"] == OTHER


@pytest.mark.parametrize("code", [700016, 70021, 70025, 700211, 700212, 700213, 7002138])
def test_an_identity_the_pod_has_no_right_to(bench: Bench, code: int) -> None:
    """A client id that the client named and Entra refuses is not found, in words that SDKs know, with the reason."""
    assert bench.ask(token_request(token_target(client_id=OTHER))) is None
    while not bench.replies:  # codes that may pass are asked for again
        bench.clock.now = max(bench.clock.now, bench.store.due() or 0.0)
        bench.store.tick()
        bench.entra.land(Refused(401, "unauthorized_client", f"AADSTS{code}: no such application", "refused", code))
    answer = bench.replies[0]
    assert (answer.status, document(answer)["error"]) == (400, "invalid_request")
    assert document(answer)["error_description"] == f"Identity not found: AADSTS{code}: no such application"


@pytest.mark.parametrize("name", ["x_identity_header", "secret"])
def test_an_error_in_app_services_dialect(bench: Bench, name: str) -> None:
    """It says the same in App Service's own fields, which are all that some SDKs read."""
    answer = document(bench.answer(token_request(token_target(""), **{name: "a-header"})))  # type: ignore[arg-type]
    assert answer["error"] == "invalid_request"
    assert (answer["statusCode"], answer["message"]) == (400, answer["error_description"])


def test_a_refusal_is_rendered_once(bench: Bench) -> None:
    """Each dialect's in its own words, however often and in whatever turn; so many are remembered and no more."""
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


def test_a_refusal_carries_the_id_of_each_who_is_refused(bench: Bench) -> None:
    """What is remembered has none."""
    answers = [bench.answer(token_request(metadata="", x_ms_client_request_id=name)) for name in ("one", "two", "")]
    assert [b"one" in answer.headers for answer in answers] == [True, False, False]
    assert [b"two" in answer.headers for answer in answers] == [False, True, False]


def digest_of(token: str) -> str:
    """Return what MSAL sends of a token that was rejected."""
    return hashlib.sha256(token.encode()).hexdigest()


def rejecting(dialect: str, token: str, **parameters: str) -> Request:
    """Return a request of a client whose token was rejected."""
    wanted = {"xms_cc": "cp1", "token_sha256_to_refresh": digest_of(token), **parameters}
    if dialect == "POST":
        body = urlencode({"resource": ARM, **wanted}).encode()
        return token_request("/metadata/identity/oauth2/token", method=b"POST")._replace(body=body)
    if dialect == "IMDS":
        return token_request(token_target(**wanted))
    version, name = {"2019": ("2019-08-01", "x_identity_header"), "2017": ("2017-09-01", "secret")}[dialect]
    return token_request(token_target(**{"api-version": version, **wanted}), metadata="", **{name: "true"})  # type: ignore[arg-type]


CAPABLE = ASK._replace(capabilities="cp1")
DIALECTS = pytest.mark.parametrize("dialect", ["IMDS", "2019", "2017", "POST"])


@DIALECTS
def test_a_rejected_token_is_exchanged_again_once(bench: Bench, dialect: str) -> None:
    """Many clients name it: one exchange, and all get the new token, also those who still name the old one then."""
    bench.hold("old", CAPABLE)
    request = rejecting(dialect, "old")
    assert [bench.ask(request), bench.ask(request)] == [None, None]
    bench.entra.land(granted("new"))
    answers = [*bench.replies, bench.answer(request), bench.answer(rejecting(dialect, "other"))]
    assert [document(answer)["access_token"] for answer in answers] == ["new"] * 4
    assert bench.entra.asked == [CAPABLE, CAPABLE]
    assert bench.ask(rejecting(dialect, "new")) is None


@DIALECTS
def test_a_rejected_token_is_not_served_while_entra_fails(bench: Bench, dialect: str) -> None:
    """The old token is not served to anybody; the client hears the fault."""
    bench.hold("old", CAPABLE)
    assert bench.ask(rejecting(dialect, "old")) is None
    bench.entra.land(unavailable("down"))
    plain = token_request(token_target(xms_cc="cp1"))
    assert [answer.status for answer in (*bench.replies, bench.answer(plain))] == [503, 503]


@DIALECTS
@pytest.mark.parametrize("digest", ["", "x", digest_of("another"), "old"])
def test_an_unknown_hash_gets_the_cached_token(bench: Bench, dialect: str, digest: str) -> None:
    """The client gets the token that there is."""
    bench.hold("old", CAPABLE)
    request = rejecting(dialect, "", token_sha256_to_refresh=digest)
    assert document(bench.answer(request))["access_token"] == "old"
    assert bench.entra.asked == [CAPABLE]


def test_bypass_cache_keeps_its_meaning_next_to_a_hash(bench: Bench) -> None:
    """bypass_cache keeps its meaning: a newer token, or the old one if Entra gives none; a rejected one never."""
    bench.hold("old", CAPABLE)
    bench.clock.now += 2
    assert bench.ask(rejecting("IMDS", "another", bypass_cache="true")) is None
    bench.entra.land(unavailable("down"))
    assert document(bench.replies[0])["access_token"] == "old"
    bench.clock.now += 60
    assert bench.ask(rejecting("IMDS", "old", bypass_cache="true")) is None
    bench.entra.land(unavailable("down"))
    assert bench.replies[1].status == 503


def test_a_rejected_token_of_an_identity_that_is_named_otherwise(bench: Bench) -> None:
    """By a name that the first token tells, or that it has yet to tell."""
    bench.hold("old", CAPABLE)
    assert bench.ask(rejecting("IMDS", "old", object_id=NAMED)) is None
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["access_token"] == "its-own"
    assert bench.ask(rejecting("IMDS", "its-own", object_id=NAMED)) is None
    bench.clock.now += 1
    bench.store.tick()
    assert bench.entra.asked == [CAPABLE] * 3


def test_a_rejection_is_logged_without_the_token(bench: Bench) -> None:
    """Once, when it takes effect; neither the token nor its hash is in the log."""
    bench.hold("old-token", CAPABLE)
    for _ in range(2):
        bench.ask(rejecting("IMDS", "old-token"))
    assert bench.sink.events().count("token revoked") == 1
    logged = bench.sink._path.read_text()
    assert "old-token" not in logged
    assert digest_of("old-token") not in logged


BOTH = {"client_id": CLIENT_ID, "msi_res_id": "/SUBSCRIPTIONS/s/x/"}


def test_two_selectors_of_the_pods_identity_are_confirmed_by_its_token(bench: Bench) -> None:
    """Its token tells whether both are its own; then it is known."""
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
def test_two_selectors_of_other_identities_are_refused_by_name(bench: Bench, parameters: dict[str, str]) -> None:
    """The refusal names both, first and every further time."""
    request = token_request(token_target(**parameters))
    assert bench.ask(request) is None
    bench.entra.land(OF_ITSELF)
    for answer in (bench.replies[0], bench.answer(request)):
        assert (answer.status, document(answer)["error"]) == (400, "invalid_request")
        assert all(f"{name}={value}" in document(answer)["error_description"] for name, value in parameters.items())
    assert bench.metrics.requests["token"] == 0
    assert bench.entra.asked == [ASK]


def test_two_selectors_of_another_identity_are_confirmed_by_its_token(bench: Bench) -> None:
    """Its own token tells, as the pod's identity's does."""
    request = token_request(token_target(client_id=OTHER, object_id=NAMED))
    assert bench.ask(request) is None
    assert bench.entra.asked == [TokenKey(OTHER, ARM)]
    bench.entra.land(OF_ITSELF)
    assert document(bench.replies[0])["client_id"] == OTHER
    assert bench.answer(token_request(token_target(client_id=CLIENT_ID, object_id=NAMED))).status == 400


def test_two_client_ids_are_refused_without_asking_entra(bench: Bench) -> None:
    """Entra is not asked for either."""
    answer = bench.answer(token_request(token_target(client_id=CLIENT_ID) + f"&client_id={OTHER}"))
    assert answer.status == 400
    assert all(each in document(answer)["error_description"] for each in (CLIENT_ID, OTHER))
    assert bench.entra.asked == []


def test_two_selectors_while_entra_fails_get_the_fault(bench: Bench) -> None:
    """Whether they are the same identity's cannot be told: the client hears the fault."""
    assert bench.ask(token_request(token_target(**BOTH))) is None
    bench.entra.land(unavailable("down"))
    assert bench.replies[0].status == 503
