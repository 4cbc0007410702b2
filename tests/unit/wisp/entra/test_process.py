"""The real exchange process: it answers, dies, hangs and restarts, and the sidecar's end survives all of it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

from tests.support.authority import Authority, Post, grants
from tests.support.fakes import ASK, Clock
from tests.support.intruder import Intruder
from tests.support.waiting import PATIENCE, wait_until
from wisp.entra.messages import Granted, Refused, Result, TokenKey
from wisp.entra.process import DEADLINE, ExchangeChild, ExchangeProcess
from wisp.entra.settings import ExchangeSettings
from wisp.http.epoll_server import Loop

pytestmark = pytest.mark.system

ECHO = """
import json, os, socket, sys
channel = socket.socket(fileno=0)
channel.recv(65536)
while True:
    packet = channel.recv(65536)
    if not packet: break
    {answer}
"""
GARBAGE = ECHO.format(answer="channel.send(b'[[]]')")
UNASKED = ECHO.format(answer='channel.send(b\'[99,"refused",503,"e","d","c"]\')')
SILENCE = ECHO.format(answer="pass")
TELLS_ENVIRONMENT = ECHO.format(answer="channel.send(' '.join(os.environ).encode())")
ENDS = ECHO.format(answer="os._exit(1)")
SOME_HANG = """
import json, socket
channel = socket.socket(fileno=0)
channel.recv(65536)
held = []
while packet := channel.recv(65536):
    held.append(json.loads(packet))
    if b"released" in packet:
        for number, *fields in [call for call in held if call[3] != "hangs"]:
            channel.send(json.dumps([number, "granted", "t", 3600]).encode())
        held = [call for call in held if call[3] == "hangs"]
    if b"all" in packet:
        for number, *fields in held:
            channel.send(json.dumps([number, "granted", "t", 3600]).encode())
"""
"""Answers what it holds once it is asked for `released`, except what `hangs`."""


class Sidecar:
    """A loop with an exchange process, and the results of its calls."""

    def __init__(self, settings: ExchangeSettings, clock: Callable[[], float], *command: str) -> None:
        self.loop = Loop(clock)
        self.observed: list[tuple[TokenKey, Result, float]] = []
        self.results: list[Result] = []
        start = partial(ExchangeChild.start, command=command) if command else ExchangeChild.start
        self.process = ExchangeProcess(settings, self.loop, lambda *seen: self.observed.append(seen), start)

    def begin(self, ask: TokenKey = ASK) -> None:
        """Start an exchange."""
        before = len(self.results)
        self.process.begin(ask, self.results.append)
        assert len(self.results) == before, "the caller was called back before it was ready"

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Turn the loop until `condition` holds."""

        def turned() -> object:
            self.loop.turn(0.01)
            return condition()

        wait_until(lambda: condition() or turned(), pause=0.0)

    def result(self) -> Result:
        """Return the single result."""
        self.turn_until(lambda: self.results)
        return self.results.pop()

    def refusal(self) -> Refused:
        """Return the single refusal."""
        result = self.result()
        assert isinstance(result, Refused)
        return result


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return an authority that grants tokens."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def settings(authority: Authority, token_file: Path) -> ExchangeSettings:
    """Return the settings for the authority and the token file."""
    return ExchangeSettings(None, "tenant", str(token_file), authority.url, str(authority.ca_file))


@pytest.fixture
def sidecars() -> Generator[Callable[..., Sidecar]]:
    """Return a factory of sidecars, which are closed at the end."""
    made: list[Sidecar] = []

    def make(settings: ExchangeSettings, *command: str, clock: Callable[[], float] = time.monotonic) -> Sidecar:
        made.append(Sidecar(settings, clock, *command))
        return made[-1]

    yield make
    for sidecar in made:
        sidecar.process.close()
        sidecar.loop.close()


Make = Callable[..., Sidecar]


def is_gone(pid: int) -> bool:
    """Return whether the process does not exist."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_exchange_is_one_post_and_its_connection_is_reused(
    sidecars: Make, settings: ExchangeSettings, authority: Authority, token_file: Path
) -> None:
    """The form is the one in Entra's documentation."""
    sidecar = sidecars(settings)
    sidecar.process.start()
    for resource in ("https://database.windows.net/", "https://vault.azure.net", "api://x/.default"):
        sidecar.begin(ASK._replace(resource=resource))
        assert isinstance(sidecar.result(), Granted)
    assert [post.line for post in authority.posts] == ["POST /tenant/oauth2/v2.0/token HTTP/1.1"] * 3
    assert authority.posts[0].form == {
        "grant_type": ["client_credentials"],
        "client_id": [ASK.client_id],
        "scope": ["https://database.windows.net//.default"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_assertion": [token_file.read_text()],
    }
    assert [post.form["scope"] for post in authority.posts[1:]] == [
        ["https://vault.azure.net/.default"],
        ["api://x/.default"],
    ]


def test_exchange_is_observed_with_key_result_and_duration(sidecars: Make, settings: ExchangeSettings) -> None:
    sidecar = sidecars(settings)
    begun = time.monotonic()
    sidecar.begin()
    result = sidecar.result()
    ((ask, observed, seconds),) = sidecar.observed
    assert (ask, observed) == (ASK, result)
    assert 0 < seconds <= time.monotonic() - begun


def test_token_file_is_read_for_every_exchange(sidecars: Make, settings: ExchangeSettings, token_file: Path) -> None:
    """The kubelet rotates it; a fault in it is reported once and not cached."""
    sidecar = sidecars(settings)
    good = token_file.read_text()
    token_file.unlink()
    sidecar.begin()
    assert sidecar.refusal().cause == "token_file"
    token_file.write_text(good)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)


def test_concurrent_exchanges_get_their_own_results(
    sidecars: Make, settings: ExchangeSettings, authority: Authority
) -> None:
    sidecar = sidecars(settings)
    together = threading.Barrier(4)

    def wait(post: Post) -> bytes:
        together.wait(PATIENCE)
        return grants(post)

    authority.behaviour = wait
    for number in range(4):
        sidecar.begin(ASK._replace(resource=f"https://{number}"))
    sidecar.turn_until(lambda: len(sidecar.results) == 4)
    assert {ask.resource for ask, result, _ in sidecar.observed if isinstance(result, Granted)} == {
        f"https://{number}" for number in range(4)
    }


def test_process_killed_between_exchanges_is_replaced(sidecars: Make, settings: ExchangeSettings) -> None:
    """Nothing is left of the first."""
    sidecar = sidecars(settings)
    sidecar.begin()
    sidecar.result()
    first = sidecar.process.pid
    os.kill(first, signal.SIGKILL)
    sidecar.turn_until(lambda: sidecar.process.pid == 0)
    assert is_gone(first)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)
    assert sidecar.process.pid not in (0, first)


def test_request_to_an_ending_process_is_sent_again(sidecars: Make, settings: ExchangeSettings) -> None:
    sidecar = sidecars(settings)
    sidecar.begin()
    sidecar.result()
    os.kill(sidecar.process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sidecar.process.pid, os.WEXITED | os.WNOWAIT)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)


def test_exchange_of_a_killed_process_is_repeated_once(
    sidecars: Make, settings: ExchangeSettings, authority: Authority
) -> None:
    """The waiting client gets its token."""
    sidecar = sidecars(settings)
    killed = threading.Event()
    authority.behaviour = lambda post: grants(post) if killed.wait(PATIENCE) else None
    sidecar.begin()
    sidecar.turn_until(lambda: authority.posts)
    os.kill(sidecar.process.pid, signal.SIGKILL)
    sidecar.turn_until(lambda: len(authority.posts) == 2)
    killed.set()
    assert isinstance(sidecar.result(), Granted)
    assert len(sidecar.observed) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_to_the_group_does_not_end_the_process(
    sidecars: Make, settings: ExchangeSettings, authority: Authority, number: signal.Signals
) -> None:
    """The sidecar decides when it ends: running exchanges are finished."""
    sidecar = sidecars(settings)

    def signals(post: Post) -> bytes:
        os.kill(sidecar.process.pid, number)
        return grants(post)

    authority.behaviour = signals
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)


def test_idle_process_exits_and_is_started_again(sidecars: Make, settings: ExchangeSettings) -> None:
    """By the next exchange."""
    idle = "from wisp.entra.exchange.__main__ import main; main(idle=0.05)"
    sidecar = sidecars(settings, sys.executable, "-c", idle)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)
    sidecar.turn_until(lambda: sidecar.process.pid == 0)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)


def test_process_ends_when_the_sidecar_is_gone(settings: ExchangeSettings) -> None:
    """At the end of its channel, even while an exchange hangs."""
    child = ExchangeChild.start(settings)
    child._channel.close()
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_process_that_cannot_be_started_is_reported_at_the_next_turn(
    sidecars: Make, settings: ExchangeSettings
) -> None:
    """Not before: the caller is not called back during its call."""
    sidecar = sidecars(settings, "/nonexistent/python")
    sidecar.process.start()
    assert sidecar.process.pid == 0
    sidecar.begin()
    sidecar.begin()
    sidecar.turn_until(lambda: len(sidecar.results) == 2)
    assert sidecar.process.due() is None
    refused = sidecar.refusal()
    assert (refused.status, refused.cause) == (503, "exchange_process")
    assert "no such file or directory" in refused.description


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("import sys; sys.exit(3)", id="ends at once"),
        pytest.param(ENDS, id="ends when asked"),
        pytest.param(GARBAGE, id="answers garbage"),
    ],
)
def test_failing_process_is_reported_after_the_second_try(
    sidecars: Make, settings: ExchangeSettings, script: str
) -> None:
    """The sidecar continues."""
    sidecar = sidecars(settings, sys.executable, "-c", script)
    sidecar.begin()
    refused = sidecar.refusal()
    assert (refused.status, refused.cause) == (503, "exchange_process")
    assert "ended without an answer" in refused.description
    sidecar.begin()
    assert sidecar.refusal().cause == "exchange_process"


def test_unexpected_result_is_dropped(sidecars: Make, settings: ExchangeSettings) -> None:
    clock = Clock()
    sidecar = sidecars(settings, sys.executable, "-c", UNASKED, clock=clock)
    sidecar.begin()
    sidecar.begin()
    clock.now += DEADLINE
    sidecar.turn_until(lambda: len(sidecar.results) == 2)


def test_silent_process_is_ended_after_nine_seconds(sidecars: Make, settings: ExchangeSettings) -> None:
    """The test moves the clock. A later exchange goes to a new process."""
    clock = Clock()
    sidecar = sidecars(settings, sys.executable, "-c", SILENCE, clock=clock)
    sidecar.begin()
    first = sidecar.process.pid
    assert sidecar.process.due() == clock.now + DEADLINE
    clock.now += 5.0
    sidecar.begin(ASK._replace(resource="later"))
    clock.now += 3.99
    sidecar.loop.turn(0)
    assert not sidecar.results
    clock.now += 0.02
    refused = sidecar.refusal()
    assert (refused.status, refused.cause) == (503, "unavailable")
    assert "did not answer in 9 s" in refused.description
    assert is_gone(first)
    assert sidecar.process.pid not in (0, first)
    assert sidecar.process.due() == pytest.approx(1000.0 + 5.0 + DEADLINE), "the other question keeps its own time"
    clock.now += 5.0
    assert sidecar.refusal().cause == "unavailable"


def begin(sidecar: Sidecar, resource: str) -> None:
    """Start an exchange of a resource."""
    sidecar.begin(ASK._replace(resource=resource))


def test_hanging_exchange_does_not_end_the_process_under_others(sidecars: Make, settings: ExchangeSettings) -> None:
    """As long as it answers some. It ends when none is under way."""
    clock = Clock()
    sidecar = sidecars(settings, sys.executable, "-c", SOME_HANG, clock=clock)
    begin(sidecar, "hangs")
    begin(sidecar, "released")
    assert isinstance(sidecar.result(), Granted)
    first = sidecar.process.pid
    clock.now += DEADLINE - 1
    begin(sidecar, "held")
    clock.now += 1
    assert sidecar.refusal().cause == "unavailable"
    assert sidecar.process.pid == first
    begin(sidecar, "released")
    sidecar.turn_until(lambda: len(sidecar.results) == 2)
    assert all(isinstance(result, Granted) for result in sidecar.results)
    assert (sidecar.process.pid, is_gone(first)) == (0, True)


def test_exchange_that_ends_late_leaves_the_process_running(sidecars: Make, settings: ExchangeSettings) -> None:
    clock = Clock()
    sidecar = sidecars(settings, sys.executable, "-c", SOME_HANG, clock=clock)
    begin(sidecar, "hangs")
    begin(sidecar, "released")
    assert isinstance(sidecar.result(), Granted)
    first = sidecar.process.pid
    clock.now += DEADLINE - 1
    begin(sidecar, "held")
    clock.now += 1
    assert sidecar.refusal().cause == "unavailable"
    begin(sidecar, "all")
    sidecar.turn_until(lambda: len(sidecar.results) == 2)
    assert sidecar.process.pid == first


def test_process_with_many_hanging_exchanges_is_replaced(sidecars: Make, settings: ExchangeSettings) -> None:
    """Those under way are repeated in another."""
    clock = Clock()
    sidecar = sidecars(settings, sys.executable, "-c", SOME_HANG, clock=clock)
    for _ in range(4):
        begin(sidecar, "hangs")
    begin(sidecar, "released")
    assert isinstance(sidecar.result(), Granted)
    first = sidecar.process.pid
    clock.now += DEADLINE - 1
    begin(sidecar, "held")
    clock.now += 1
    sidecar.turn_until(lambda: len(sidecar.results) == 4)
    assert sidecar.process.pid not in (0, first)
    begin(sidecar, "released")
    sidecar.turn_until(lambda: len(sidecar.results) == 6)
    assert [isinstance(result, Granted) for result in sidecar.results] == [False] * 4 + [True] * 2


def test_closing_ends_the_process_without_callbacks(sidecars: Make, settings: ExchangeSettings) -> None:
    sidecar = sidecars(settings, sys.executable, "-c", SILENCE)
    sidecar.begin()
    pid = sidecar.process.pid
    sidecar.process.close()
    sidecar.process.close()
    assert is_gone(pid)
    assert sidecar.process.due() is None
    assert not sidecar.results


def test_assertion_stays_in_the_exchange_process(settings: ExchangeSettings, token_file: Path) -> None:
    """Its command line does not contain it."""
    child = ExchangeChild.start(settings)
    try:
        command = Path(f"/proc/{child.pid}/cmdline")
        wait_until(command.read_bytes)
        assert token_file.read_bytes() not in command.read_bytes()
    finally:
        child.end()


@pytest.mark.parametrize("folder", ["wisp", "ssl.py"])
def test_no_code_from_the_working_directory(
    sidecars: Make, settings: ExchangeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A file there with the name of a module is not imported."""
    (tmp_path / "here" / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    sidecar = sidecars(settings)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)


def test_no_code_from_the_environment(
    sidecars: Make, settings: ExchangeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what Python runs at its start nor modules that replace those of its library or a dependency."""
    intruder = Intruder(tmp_path / "intruder")
    monkeypatch.setenv("PYTHONPATH", str(intruder.folder))
    sidecar = sidecars(settings)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)
    assert not intruder.processes()


def test_tls_keys_are_not_logged(
    sidecars: Make, settings: ExchangeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's ssl would write them to SSLKEYLOGFILE, and anyone who records the traffic could read the assertion."""
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    sidecar = sidecars(settings)
    sidecar.begin()
    assert isinstance(sidecar.result(), Granted)
    assert not keys.exists()


def test_process_gets_only_trust_store_and_locale_variables(
    settings: ExchangeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself may add LC_CTYPE."""
    monkeypatch.setenv("SSL_CERT_DIR", "/some/folder")
    monkeypatch.setenv("OPENSSL_CONF", "/some/file")
    child = ExchangeChild.start(settings, (sys.executable, "-c", TELLS_ENVIRONMENT))
    try:
        child._channel.settimeout(PATIENCE)
        child.send(b"tell")
        names = set((child.receive() or b"").decode().split())
    finally:
        child.end()
    assert "SSL_CERT_DIR" in names
    assert names <= {"SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH"}
