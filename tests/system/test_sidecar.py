"""The sidecar's slow and privileged stories: waits of seconds, recovery, ports of root, floods."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.proxy.authority import Authority, Drip, grants, in_turn, refuses
from tests.proxy.sidecar import COMMAND, Pod, Sidecar, free_port, pod, running
from tests.waiting import wait_until
from wisp.cloud.certificates import new_authority

pytestmark = pytest.mark.system

LONGEST_WAIT = 12.0
WITHOUT_BINDING = ("setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service")


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Give an Entra that grants."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def own_pod(tmp_path: Path, authority: Authority) -> Pod:
    """Give a pod that knows it."""
    return pod(tmp_path, authority.url)


@pytest.fixture
def sidecar(own_pod: Pod, authority: Authority) -> Generator[Sidecar]:
    """Give a running sidecar in it."""
    with running(own_pod, "--authority-ca", str(authority.ca_file)) as sidecar:
        yield sidecar


@pytest.fixture
def hanging(authority: Authority) -> Generator[threading.Event]:
    """Let that Entra say nothing until the event is set."""
    release = threading.Event()
    authority.behaviour = lambda post: grants(post) if release.wait(60) else None
    yield release
    release.set()


def test_an_authority_that_comes_late(tmp_path: Path) -> None:
    """Until then clients hear so at once, with a time to come back; then it works by itself."""
    port = free_port()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(new_authority(time.time()).certificate_pem)
    with running(pod(tmp_path, f"https://127.0.0.1:{port}/"), "--authority-ca", str(ca_file)) as sidecar:
        begun = time.monotonic()
        heard = sidecar.token()
        assert time.monotonic() - begun < 2
        assert (heard.status, heard.document["error"]) == (503, "temporarily_unavailable")
        assert "the connection was refused" in heard.document["error_description"]
        assert 1 <= int(heard.headers["retry-after"]) <= 2
        with Authority(tmp_path, port=port):
            wait_until(lambda: sidecar.token().status == 200)


def test_a_ca_file_replaced(sidecar: Sidecar, authority: Authority) -> None:
    """Untrusted, and trusted again: the text says what to do, and doing it is enough."""
    good = authority.ca_file.read_bytes()
    authority.ca_file.write_bytes(new_authority(time.time()).certificate_pem)
    heard = sidecar.token()
    assert heard.status == 503
    assert "--authority-ca" in heard.document["error_description"]
    assert "retry-after" in heard.headers
    authority.ca_file.write_bytes(good)
    wait_until(lambda: sidecar.token().status == 200)


def test_a_hanging_authority(sidecar: Sidecar, authority: Authority, hanging: threading.Event) -> None:
    """Clients hear so after seconds, all at once, then at once; it recovers by itself when Entra does."""
    begun = time.monotonic()
    heard: list[int] = []
    clients = [threading.Thread(target=lambda: heard.append(sidecar.token().status)) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert time.monotonic() - begun < LONGEST_WAIT
    assert heard == [503] * 20
    assert len(authority.posts) == 1
    again = sidecar.token()
    assert again.status == 503
    assert "did not answer in time" in again.document["error_description"]
    hanging.set()
    wait_until(lambda: sidecar.token().status == 200)


@pytest.mark.usefixtures("hanging")
def test_a_retry_that_hangs(sidecar: Sidecar, authority: Authority) -> None:
    """A refusal that may pass, and then silence: still nobody waits over twelve seconds."""
    authority.behaviour = in_turn(*[refuses(401, 700213)] * 3, authority.behaviour)
    begun = time.monotonic()
    assert sidecar.token().status == 503
    assert 5 < time.monotonic() - begun < LONGEST_WAIT
    assert len(authority.posts) == 4


def test_an_authority_that_drips(sidecar: Sidecar, authority: Authority) -> None:
    """One that says a byte now and then keeps within every read's limit; the exchange's own limit holds."""
    authority.behaviour = lambda _: Drip(b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 60)
    begun = time.monotonic()
    heard = sidecar.token()
    assert heard.status == 503
    assert "did not answer in 9 s" in heard.document["error_description"]
    assert time.monotonic() - begun < LONGEST_WAIT
    authority.behaviour = grants
    wait_until(lambda: sidecar.token().status == 200)


def test_stopping_while_entra_hangs(sidecar: Sidecar, authority: Authority, hanging: threading.Event) -> None:
    """It does not wait for Entra: five seconds after the signal it is gone, with its exchange process."""
    client = threading.Thread(target=lambda: _ignoring(sidecar))
    client.start()
    wait_until(lambda: authority.posts)
    child = sidecar.child()
    begun = time.monotonic()
    assert sidecar.end(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 6
    assert not Path(f"/proc/{child}").exists()
    client.join()
    hanging.set()


def _ignoring(sidecar: Sidecar) -> None:
    try:
        sidecar.token()
    except OSError:
        return


@pytest.mark.skipif(os.geteuid() != 0, reason="to drop a capability one has to have it")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
def test_a_port_of_root(own_pod: Pod) -> None:
    """Without the capability for it, one line says which ports can be had."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("here every user may listen on port 80")
    ended = subprocess.run(
        [*WITHOUT_BINDING, *COMMAND, "--proxy-port", "80"],
        env={**os.environ, **own_pod.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "wisp proxy: cannot listen on 127.0.0.1:80 (permission denied): choose one above 1023 by --proxy-port\n"
    )


def test_nobody_there_to_probe() -> None:
    """The probe gives up after its ten seconds, in one line."""
    port = free_port()
    begun = time.monotonic()
    ended = subprocess.run(
        [*COMMAND, "--probe", "--proxy-port", str(port)], capture_output=True, text=True, check=False
    )
    assert 9 < time.monotonic() - begun < 12
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"no sidecar is ready on 127.0.0.1:{port} (Connection refused)" in ended.stderr


def _repeat(port: int, request: bytes, times: int) -> None:
    """Send a request again and again on one connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(times):
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = len(head.split(b"\r\n\r\n", 1)[1])
            while body < length:
                body += len(connection.recv(65536))


def test_a_flood_of_bad_requests(sidecar: Sidecar) -> None:
    """It cannot fill a disk by way of the log."""
    _repeat(sidecar.port, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 5000)
    assert sum(each["event"] == "request refused" for each in sidecar.events()) <= 120
