"""The state machine of a server connection without sockets: what it returns, the next state and its deadline."""

import select

import pytest

from tests.unit.wisp.http.wire import GET, NEXT, POST
from tests.unit.wisp.http.world import Application
from wisp.http.connection import (
    ACCEPTED,
    ANSWERING,
    CLOSED,
    FINISHING,
    FLUSHING,
    HANDSHAKE,
    IDLE,
    READ,
    RECEIVING,
    SENDING,
    STATES,
    UNSENT_LIMIT,
    WRITE,
    Host,
    Limits,
    Responder,
    ServerConnection,
    Source,
    State,
    Times,
)
from wisp.http.messages import Response
from wisp.http.response_parser import StreamedResponse

LATER = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
TIMES = Times(handshake=5, message=6, answer=7, write=30, linger=1, idle=120)


class Driver:
    """A driver's side of a connection: it records what the connection returns and takes all of it by default."""

    def __init__(self, application: Application, state: State = RECEIVING) -> None:
        self.application = application
        self.host = Host(application, Limits(times=TIMES), lambda _now: b"date")
        self.connection = ServerConnection(self.host, self, 0.0, state=state)
        self.sent = bytearray()

    def receive(self, data: bytes, now: float = 0.0, *, takes: int = 1 << 30) -> bytes:
        """Let `data` arrive and send `takes` bytes of what is returned; return all of it."""
        output = self.connection.receive(data, now)
        if takes < len(output):
            self.connection.keep_unsent(output[takes:], now)
        return output

    def reply(self, response: Response) -> None:
        """Send a late response."""
        self.sent += self.connection.answer(response, 0.0)

    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return fixed addresses."""
        return ("", 0), ("", 0)

    def begin(self, streamed: StreamedResponse) -> None:
        """Send the head of a response."""
        self.sent += self.connection.begin(streamed, 0.0)

    def write(self, data: bytes) -> bool:
        """Send a piece of it."""
        self.sent += self.connection.piece(data)
        return True

    def end(self) -> None:
        """Send its end."""
        self.sent += self.connection.end(0.0)

    def abort(self) -> None:
        """Close."""
        self.connection.close()


class Streaming(Application):
    """An application whose responses come from a source."""

    held = 3
    responder: Responder | None = None

    def answer(self, _request: object, _reply: object) -> Source:  # type: ignore[override]
        """Return the source."""
        return self

    def attach(self, responder: Responder) -> None:
        """Keep it."""
        self.responder = responder

    def resume(self) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing."""


@pytest.fixture(name="driver")
def _driver() -> Driver:
    return Driver(Application())


def test_event_bits_equal_those_of_epoll() -> None:
    """A driver can pass them to the kernel unchanged."""
    assert (READ, WRITE) == (select.EPOLLIN, select.EPOLLOUT)


def test_every_state_has_a_time_limit_and_an_outcome() -> None:
    assert all(hasattr(TIMES, state.limit) and state.late for state in STATES)


@pytest.mark.parametrize(
    "data, state, seconds",
    [
        pytest.param(b"", RECEIVING, 6, id="nothing"),
        pytest.param(b"\r\n", RECEIVING, 6, id="an empty line"),
        pytest.param(GET, RECEIVING, 6, id="a part"),
        pytest.param(NEXT, IDLE, 120, id="a request"),
        pytest.param(NEXT + GET, RECEIVING, 6, id="a request and a part"),
        pytest.param(LATER, ANSWERING, 7, id="a request that takes time"),
        pytest.param(NEXT + LATER + NEXT, ANSWERING, 7, id="one of several takes time"),
        pytest.param(LAST, FINISHING, 1, id="the last request"),
        pytest.param(b"x\n", FINISHING, 1, id="not a request"),
        pytest.param(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", RECEIVING, 6, id="100-continue"),
        pytest.param(NEXT * 65, SENDING, 30, id="more requests than one turn serves"),
    ],
)
def test_state_after_input(driver: Driver, data: bytes, state: State, seconds: float) -> None:
    """The state follows from the work left to do, and its time starts then."""
    driver.receive(data, 4.0)
    begun = 0.0 if state is RECEIVING and not data.startswith((b"GET /next", b"POST")) else 4.0
    assert (driver.connection.state, driver.connection.deadline) == (state, begun + seconds)


@pytest.mark.parametrize(
    "state, late, output",
    [
        pytest.param(ACCEPTED, CLOSED, None, id="accepted"),
        pytest.param(HANDSHAKE, CLOSED, None, id="handshake"),
        pytest.param(RECEIVING, FINISHING, b"408", id="receiving"),
        pytest.param(IDLE, FINISHING, b"", id="idle"),
        pytest.param(ANSWERING, CLOSED, None, id="answering"),
        pytest.param(SENDING, CLOSED, None, id="sending"),
        pytest.param(FINISHING, CLOSED, None, id="finishing"),
        pytest.param(FLUSHING, CLOSED, None, id="flushing"),
    ],
)
def test_state_after_its_time_limit(state: State, late: State, output: bytes | None) -> None:
    """A started request gets 408, an idle connection ends in order, and all others are closed."""
    driver = in_state(state)
    returned = driver.connection.expire(driver.connection.deadline)
    if returned is None:
        driver.connection.close()
    assert driver.connection.state is late
    assert returned is None if output is None else output in (returned or b"")
    assert driver.host.held == 0


def in_state(state: State) -> Driver:
    """Return a connection that is in `state`."""
    driver = Driver(Application(), ACCEPTED if state in (ACCEPTED, HANDSHAKE) else RECEIVING)
    if state is HANDSHAKE:
        driver.connection.shake_hands(1.0, done=False)
    steps = {RECEIVING: GET, IDLE: NEXT, ANSWERING: LATER, SENDING: NEXT, FINISHING: LAST, FLUSHING: NEXT}
    if state in steps:
        driver.receive(steps[state], takes=5 if state is SENDING else 1 << 30)
    if state is FLUSHING:
        driver.connection.finish(0.0, client_closed=True)
    assert driver.connection.state is state
    return driver


@pytest.mark.parametrize("state", [FINISHING, FLUSHING], ids=["finishing", "flushing"])
def test_slow_reader_has_one_time_limit_for_the_whole_response(state: State) -> None:
    """Half a minute in total; checking does not extend it."""
    driver, now = in_state(state), 0.0
    while driver.connection.expire(now, still_taken=True) is not None:
        now += 1.0
        assert driver.connection.state is state
    assert now == 30.0


def test_handshake_has_one_time_limit() -> None:
    """The client's first message does not extend it; the first request has its own limit."""
    driver = Driver(Application(), ACCEPTED)
    driver.connection.shake_hands(2.0, done=False)
    assert (driver.connection.state, driver.connection.since, driver.connection.deadline) == (HANDSHAKE, 2.0, 5.0)
    driver.connection.shake_hands(3.0, done=True)
    assert (driver.connection.state, driver.connection.deadline) == (RECEIVING, 9.0)


def test_pipelined_requests_wait_until_earlier_responses_are_read(driver: Driver) -> None:
    """Beyond the limit of unsent responses no request is answered. The time limit continues meanwhile."""
    some = b"GET /some HTTP/1.1\r\nHost: x\r\n\r\n"
    output = driver.receive(some * 9, takes=100)
    assert UNSENT_LIMIT <= len(output) < UNSENT_LIMIT + 6000
    assert driver.connection.state is SENDING
    assert driver.host.held == len(output) - 100 + len(some) * 5
    driver.connection.unsent.clear()
    assert driver.connection.proceed(20.0).count(b"200 OK") == 4
    driver.connection.unsent += b"rest"
    driver.connection.proceed(20.0)
    driver.connection.keep_unsent(b"of it", 20.0)
    assert driver.connection.deadline == 30.0
    driver.connection.unsent.clear()
    driver.connection.proceed(25.0)
    assert driver.connection.state is IDLE
    assert driver.host.held == 0


def test_late_response_is_followed_by_the_responses_to_later_requests(driver: Driver) -> None:
    """In order; no request is answered twice."""
    driver.receive(LATER + NEXT)
    driver.application.reply()
    driver.reply(Response(200, b"again"))
    assert (driver.sent.count(b"200 OK"), driver.connection.state) == (2, IDLE)


def test_memory_of_a_response_source_is_counted_until_the_response_is_complete() -> None:
    """A response of unknown length is sent in chunks."""
    driver = Driver(application := Streaming())
    driver.receive(NEXT + GET)
    assert driver.host.held == 3 + len(GET)
    assert application.responder is driver
    driver.begin(StreamedResponse(200, b"X: y\r\n", None))
    driver.write(b"abc")
    driver.end()
    assert driver.sent.endswith(b"X: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (driver.connection.state, driver.host.held) == (RECEIVING, len(GET))


def test_closed_connection_holds_no_memory_and_drops_a_late_response(driver: Driver) -> None:
    driver.receive(LATER + NEXT)
    driver.connection.close()
    assert driver.connection.owes
    driver.connection.release()
    assert not driver.connection.owes
    assert (driver.connection.state, driver.host.held, driver.receive(NEXT)) == (CLOSED, 0, b"")


def test_closing_server_marks_every_response_as_the_last(driver: Driver) -> None:
    """Requests that have started are served."""
    driver.receive(GET)
    driver.host.closing = True
    assert b"Connection: close" in driver.receive(b"\r\n")
    assert driver.connection.state is FINISHING
