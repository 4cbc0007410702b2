"""The listener's connections: limits, order, slowness and rubbish; and reviews that are none."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.webhook.process import CLIENT_ID, TENANT, review
from tests.webhook.replicas import Quiet
from wisp.admission.contract import Policy
from wisp.http.connection import Reject, Request
from wisp.http.response import TEXT, Response
from wisp.webhook.accounts import PREFIX, Accounts
from wisp.webhook.api import Ask, Reply, UnansweredError
from wisp.webhook.metrics import Metrics
from wisp.webhook.objects import Metadata
from wisp.webhook.peer import Host, Peer, Times
from wisp.webhook.reviews import Reviews

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes note of what a peer does to its connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.aborted = False
        self.reading = True

    def write(self, data: Any) -> None:
        """Take bytes."""
        self.sent += bytes(data)

    def close(self) -> None:
        """Take note."""
        self.closed = True

    def is_closing(self) -> bool:
        """Tell."""
        return self.closed

    def abort(self) -> None:
        """Take note."""
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        """Take note."""
        self.reading = False

    def resume_reading(self) -> None:
        """Take note."""
        self.reading = True

    def bodies(self) -> list[bytes]:
        """Return the bodies of the answers so far; all are one line."""
        return [part.split(b"\r\n\r\n")[1] for part in self.sent.split(b"HTTP/1.1 ")[1:]]


class Echo:
    """Answers with the path; at once, or when told to."""

    def __init__(self) -> None:
        self.later: asyncio.Future[Response] | None = None

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        """Answer."""
        return self.later or Response(200, request.target, TEXT)

    def rejected(self, reject: Reject) -> Response:
        """Answer."""
        return Response(reject.status, reject.reason.encode(), TEXT)


class Line:
    """A host with a clock that stands still, and its connections."""

    def __init__(self, most: int = 2) -> None:
        self.now = 0.0
        self.application = Echo()
        self.host = Host(self.application, times=Times(), most=most, body_limit=1000, clock=lambda: self.now)

    def connect(self) -> tuple[Peer, Transport]:
        """Connect."""
        peer, transport = Peer(self.host), Transport()
        peer.connection_made(transport)
        return peer, transport


def test_requests_in_one_piece() -> None:
    """Are answered in their order."""
    peer, transport = Line().connect()
    peer.data_received(GET % 1 + GET % 2)
    assert transport.bodies() == [b"/1", b"/2"]


def test_a_body_over_the_limit() -> None:
    """Is refused before it has come, and the connection closed."""
    peer, transport = Line().connect()
    peer.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 413")
    assert transport.closed


def test_a_slow_request_is_told_so_and_an_idle_connection_just_ends() -> None:
    """A message has 10 seconds, however it trickles in; idleness 180."""
    line = Line()
    slow, slow_transport = line.connect()
    idle, idle_transport = line.connect()
    idle.data_received(GET % 1)
    slow.data_received(b"GET")
    line.now = 9.0
    slow.data_received(b" /")
    line.host.end_late()
    assert not slow_transport.closed
    line.now = 10.0
    line.host.end_late()
    assert slow_transport.sent.startswith(b"HTTP/1.1 408")
    assert not idle_transport.closed
    line.now = 180.0
    line.host.end_late()
    assert idle_transport.closed


def test_the_one_idle_longest_makes_room() -> None:
    """And where none is idle, who comes last is turned away."""
    line = Line(most=2)
    first, first_transport = line.connect()
    first.data_received(GET % 1)
    line.now = 1.0
    second, second_transport = line.connect()
    second.data_received(GET % 1)
    third, third_transport = line.connect()
    assert (first_transport.closed, second_transport.closed, third_transport.closed) == (True, False, False)
    first.connection_lost(None)
    for peer in (second, third):
        peer.data_received(b"GET")
    assert line.connect()[1].aborted


def test_who_does_not_read_is_not_answered_further() -> None:
    """Requests wait until the answers before have been taken."""
    peer, transport = Line().connect()
    peer.pause_writing()
    peer.data_received(GET % 1)
    assert not transport.sent
    assert not transport.reading
    peer.resume_writing()
    assert transport.bodies() == [b"/1"]
    assert transport.reading


def test_an_answer_that_takes_time() -> None:
    """Holds back those after it, and only those of its own connection."""

    async def scene() -> None:
        line = Line()
        peer, transport = line.connect()
        line.application.later = asyncio.get_running_loop().create_future()
        peer.data_received(GET % 1)
        later, line.application.later = line.application.later, None
        peer.data_received(GET % 2)
        other, other_transport = line.connect()
        other.data_received(GET % 3)
        assert other_transport.bodies() == [b"/3"]
        assert transport.bodies() == []
        later.set_result(Response(200, b"late", TEXT))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.bodies() == [b"late", b"/2"]

    asyncio.run(scene())


def test_at_the_end_every_answer_is_the_last() -> None:
    """While it stops, connections are answered and closed."""
    line = Line()
    peer, transport = line.connect()
    line.host.closing = True
    peer.data_received(GET % 1)
    assert b"Connection: close" in transport.sent
    assert transport.closed


class NoApi:
    """An API server that is never there."""

    async def ask(self, ask: Ask, patience: float | None = None) -> Reply:
        """Fail."""
        raise UnansweredError(f"{ask.path} {patience}")


@pytest.fixture(name="reviews")
def _reviews() -> Reviews:
    accounts = Accounts(NoApi())
    accounts.replace([Metadata("web", "default", annotations={PREFIX + "client-id": CLIENT_ID})])
    return Reviews(accounts, Policy(tenant_id=TENANT), Metrics(), Quiet())


def ask(reviews: Reviews, body: bytes, *, method: bytes = b"POST", target: bytes = b"/mutate-v1-pod") -> Response:
    """Put a request to it; the answer must come at once."""
    answer = reviews.answer(Request(method, target, (), body, http_1_0=False, keep_alive=True))
    assert isinstance(answer, Response)
    return answer


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a review with something wrong in it."""
    document = json.loads(review())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "body, words",
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"{", "not JSON", id="half an object"),
        pytest.param(b"\xff\xfe", "not JSON", id="not UTF-8"),
        pytest.param(b'{"kind": "\xff"}', "not JSON", id="a string that is not UTF-8"),
        pytest.param(b"[" * 100_000, "", id="nested without end"),
        pytest.param(b"[]", "no AdmissionReview", id="a list"),
        pytest.param(b"null", "no AdmissionReview", id="null"),
        pytest.param(changed(lambda d: d.update(kind="Pod")), "no AdmissionReview", id="another kind"),
        pytest.param(changed(lambda d: d.update(apiVersion="admission.k8s.io/v1beta1")), "version", id="v1beta1"),
        pytest.param(changed(lambda d: d.pop("request")), "no request", id="an answer"),
        pytest.param(changed(lambda d: d["request"].pop("uid")), "uid", id="no uid"),
        pytest.param(changed(lambda d: d["request"]["kind"].update(kind="Node")), "not about a v1 Pod", id="a node"),
    ],
)
def test_what_is_no_review(reviews: Reviews, body: bytes, words: str) -> None:
    """Is a 400 that says why."""
    response = ask(reviews, body)
    assert response.status == 400
    assert words in response.body.decode()


def test_other_paths_and_methods(reviews: Reviews) -> None:
    """Only POST, only the one path."""
    assert ask(reviews, review(), target=b"/").status == 404
    assert ask(reviews, review(), method=b"GET").status == 405


def test_answers_are_remembered_truly(reviews: Reviews) -> None:
    """The second answer is the first but for its uid, whatever that is; a change of the policy is a new answer."""
    first, second, odd = (json.loads(ask(reviews, review(uid=uid)).body)["response"] for uid in ("a", "b", '"\\ü'))
    assert first.pop("uid") == "a"
    assert second.pop("uid") == "b"
    assert odd.pop("uid") == '"\\ü'
    assert first == second == odd
    reviews.policy = Policy(tenant_id=CLIENT_ID)
    assert json.loads(ask(reviews, review()).body)["response"]["patch"] != first["patch"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d["request"].update(namespace="other"), id="namespace"),
        pytest.param(lambda d: d["request"].update(operation="UPDATE"), id="operation"),
        pytest.param(lambda d: d["request"].update(subResource="ephemeralcontainers"), id="subresource"),
        pytest.param(lambda d: d["request"]["object"]["metadata"].update(labels={}), id="label"),
    ],
)
def test_what_makes_another_review(reviews: Reviews, change: Callable[[dict[str, Any]], object]) -> None:
    """What is remembered of one pod is not said of another case."""
    assert b"patch" in ask(reviews, review()).body
    other = reviews.answer(Request(b"POST", b"/mutate-v1-pod", (), changed(change), http_1_0=False, keep_alive=True))
    if isinstance(other, Response):
        assert b"patch" not in other.body
    else:
        assert b'"code":503' in asyncio.run(_awaited(other)).body


async def _awaited(answer: Awaitable[Response]) -> Response:
    return await answer
