"""Bytes into the whole request path, with a client, an Entra and a node in memory: every answer is one deserved.

Every client that gets a token has asked for one by the rules; every request is answered, in order, once; how the bytes
were split, when Entra answered and which server it is makes no difference; and no token is in the log.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import h11

from tests.fuzz.routing import HEADER, check_forward, has_right, is_acceptable, is_authorised, shows_header
from tests.fuzz.target import cuttings, expanded
from tests.fuzz.wires import DRIVERS, Conversation
from tests.support.fakes import CLIENT_ID, Clock, UnixClock, jwt
from tests.unit.wisp.http.wire import outcome
from wisp.base.log import Log
from wisp.base.secret import Secret
from wisp.entra.messages import Granted, Refused, Result, TokenKey, unavailable
from wisp.entra.tokens import Clocks, TokenStore
from wisp.http.connection import Application
from wisp.http.messages import CONTINUE, Reject, Request, Response
from wisp.imds.identities import Identities
from wisp.imds.passthrough import SEGMENTS, AlreadyForwarded, ForwardedRequest
from wisp.proxy.app import Front
from wisp.proxy.metrics import Metrics
from wisp.proxy.token_service import OtherEndpoints, TokenService

TOKEN = jwt(oid="0b0f6a1d-4c39-4c39-8a31-0c34b0a0f5e1", xms_mirid="/subscriptions/s/identity")
_UNSTABLE = (b"date",)


class ClientAnswer(NamedTuple):
    """An answer as the client reads it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Entra:
    """Answers by the requested resource: at once, or later."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once
        self._held: list[Callable[[], None]] = []

    def begin(self, ask: TokenKey, done: Callable[[Result], None]) -> None:
        """Start an exchange."""
        if self._at_once:
            done(_result(ask))
        else:
            self._held.append(lambda: done(_result(ask)))

    def answer(self) -> bool:
        """Answer the oldest exchange; return whether there was one."""
        if not self._held:
            return False
        self._held.pop(0)()
        return True


def _result(ask: TokenKey) -> Result:
    if "refuse" in ask.resource:
        return Refused(400, "invalid_resource", "AADSTS500011: no such resource", "refused", 500011)
    if "later" in ask.resource:
        return unavailable("Entra is not there", retry_after=7.0)
    return Granted(
        Secret(TOKEN), 86399, None, None, "0b0f6a1d-4c39-4c39-8a31-0c34b0a0f5e1", "/subscriptions/s/identity"
    )


class Pod:
    """A sidecar's application; `wrap` may add another application before it."""

    def __init__(
        self,
        wrap: Callable[[Application], Application],
        *,
        at_once: bool,
        required: bool,
        passed: tuple[str, ...] = SEGMENTS,
    ) -> None:
        clock = Clock()
        self.entra = Entra(at_once=at_once)
        self._descriptor = os.memfd_create("log")
        self._required = required
        self._passed = passed
        store = TokenStore(self.entra.begin, Clocks(clock, UnixClock(clock), lambda: 0.5))
        front = Front(lambda: self._service(store, front))
        self.application = wrap(front)

    def _service(self, store: TokenStore, front: Front) -> TokenService:
        identities = Identities(CLIENT_ID, header=Secret(HEADER.decode()), header_required=self._required)
        beside = OtherEndpoints(front.health, self._passed, self._pass_on)
        return TokenService(store, identities, Metrics(), Log("debug", self._descriptor), beside)

    def _pass_on(self, judged: ForwardedRequest | AlreadyForwarded, _request: Request) -> Response:
        if isinstance(judged, AlreadyForwarded):
            return Response(508, b"{}")
        check_forward(judged)
        assert judged.method == b"GET", "an event of the node is acknowledged"
        return Response(200, b'{"from":"node"}')

    def logged(self) -> bytes:
        """End the log and return it."""
        with os.fdopen(self._descriptor, "rb") as file:
            file.seek(0)
            return file.read()


def _unwrapped(application: Application) -> Application:
    return application


def check(data: bytes, wrap: Callable[[Application], Application] = _unwrapped) -> None:
    """Fail if an invariant of the request path is broken."""
    stream = expanded(data)
    for required in (False, True):
        answers = _conversation([stream], Pod(wrap, at_once=True, required=required), 1 << 20, "epoll")
        _check_answers(stream, answers, required=required)
        for pieces in cuttings(stream):
            for driver in DRIVERS:
                pod = Pod(wrap, at_once=False, required=required)
                others = _conversation(pieces, pod, 1 + len(data) * 7, driver)
                assert others == answers, f"the answers depend on the pieces, on when Entra answered, or on {driver}"


def _conversation(pieces: list[bytes], pod: Pod, takes: int, driver: str) -> list[ClientAnswer]:
    talk = Conversation(pod.application, DRIVERS[driver], takes, pod.entra.answer)
    for piece in pieces:
        talk.say(piece)
    talk.end()
    assert TOKEN.encode() not in pod.logged(), "a token is in the log"
    return _client_answers(bytes(talk.wire.answered), _requests_in(b"".join(pieces))[0])


def _requests_in(stream: bytes) -> tuple[list[Request], bool]:
    """Return the requests until the connection ends, and whether it ends because the rest is not a request."""
    requests: list[Request] = []
    for event in outcome([stream]):
        if isinstance(event, Reject):
            return requests, True
        requests.append(event)
        if not event.keep_alive:
            break
    return requests, False


def _client_answers(answered: bytes, requests: list[Request]) -> list[ClientAnswer]:
    """Read the answers as a client that knows its requests."""
    found: list[ClientAnswer] = []
    methods = iter([request.method for request in requests])
    while answered := answered.removeprefix(CONTINUE):
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        method = next(methods, b"GET")
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answered)
        answer = _answer(client)
        if method == b"CONNECT" and 200 <= answer.status < 300:
            raise AssertionError("a tunnel is granted")
        found.append(answer)
        answered = bytes(client.trailing_data[0])
    return found


def _answer(client: h11.Connection) -> ClientAnswer:
    head = client.next_event()
    assert isinstance(head, h11.Response), "what was sent is not a response"
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), "an answer is cut short"
    return ClientAnswer(head.status_code, tuple(pair for pair in head.headers if pair[0] not in _UNSTABLE), body)


def _check_answers(stream: bytes, answers: list[ClientAnswer], *, required: bool) -> None:
    requests, rejected = _requests_in(stream)
    assert len(answers) == len(requests) + rejected, "a request has no answer, or an answer no request"
    if rejected:
        assert answers[-1].status >= 400
        assert b"access_token" not in answers[-1].body
    for request, answer in zip(requests, answers, strict=False):
        _check_answer(request, answer, required=required)


def _check_answer(request: Request, answer: ClientAnswer, *, required: bool) -> None:
    if answer.status < 400:
        header = Secret(HEADER.decode())
        assert is_acceptable(request), "a request is served that no route serves"
        assert has_right(request, header, required=required), "a page for a stranger"
    if b"access_token" in answer.body or TOKEN.encode() in answer.body:
        assert answer.status == 200
        header = Secret(HEADER.decode())
        assert shows_header(request, header) or (is_authorised(request) and not required), "a token for a stranger"
        assert b"/metadata/identity/oauth2/token" in request.target.lower()
        assert (b"cache-control", b"no-store") in answer.headers
    identifier = dict(answer.headers).get(b"x-ms-client-request-id")
    assert identifier is None or identifier == request.header(b"x-ms-client-request-id")
