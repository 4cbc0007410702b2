"""Slow and privileged tests of the sidecar: stopping while Entra hangs, privileged ports, floods of requests."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.authority import Authority, grants
from tests.support.needs import Missing, MissingSkip
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.proxy.sidecar import COMMAND, Pod, Sidecar, free_port, pod, running

pytestmark = pytest.mark.system

WITHOUT_BINDING = ("setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service")


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return an Entra that grants tokens."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def own_pod(tmp_path: Path, authority: Authority) -> Pod:
    """Return a pod that uses this Entra."""
    return pod(tmp_path, authority.url)


@pytest.fixture
def sidecar(own_pod: Pod, authority: Authority) -> Generator[Sidecar]:
    """Run a sidecar in the pod."""
    with running(own_pod, "--authority-ca", str(authority.ca_file)) as sidecar:
        yield sidecar


@pytest.fixture
def hanging(authority: Authority) -> Generator[threading.Event]:
    """Make Entra wait with its answer until the event is set."""
    release = threading.Event()
    authority.behaviour = lambda post: grants(post) if release.wait(PATIENCE) else None
    yield release
    release.set()


def test_sidecar_stops_while_entra_hangs(sidecar: Sidecar, authority: Authority, hanging: threading.Event) -> None:
    """Its exchange process ends with it."""
    client = threading.Thread(target=lambda: _ignoring(sidecar))
    client.start()
    wait_until(lambda: authority.posts)
    child = sidecar.child()
    assert sidecar.end(signal.SIGTERM) == 0
    assert not Path(f"/proc/{child}").exists()
    client.join()
    hanging.set()


def _ignoring(sidecar: Sidecar) -> None:
    try:
        sidecar.token()
    except OSError:
        return


@pytest.mark.needs("root", "setpriv")
def test_port_below_1024_is_reported_with_a_hint(own_pod: Pod) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        raise MissingSkip(Missing("a port for root alone", "sysctl -w net.ipv4.ip_unprivileged_port_start=1024"))
    ended = subprocess.run(
        [*WITHOUT_BINDING, *COMMAND, "--proxy-port", "80"],
        env={**os.environ, **own_pod.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: cannot listen on 127.0.0.1:80 (permission denied)\nhint: choose one above 1023 by --proxy-port\n"
    )


# Runs the sidecar's command line with a clock that advances by half a second at every reading.
_HURRIED = """
import itertools, sys, time
readings = itertools.count()
time.monotonic = lambda: next(readings) / 2
time.sleep = lambda _: None
from wisp.proxy.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_probe_without_a_sidecar_fails_with_a_hint() -> None:
    port = free_port()
    command = [sys.executable, "-c", _HURRIED, "--probe", "--proxy-port", str(port)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 2)
    assert f"no sidecar is ready on 127.0.0.1:{port} (Connection refused)" in ended.stderr


def _repeat(port: int, request: bytes, times: int) -> None:
    """Send a request repeatedly on one connection."""
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


def test_many_bad_requests_do_not_flood_the_log(sidecar: Sidecar) -> None:
    """At most sixty lines a minute are written for one event."""
    begun = time.monotonic()
    _repeat(sidecar.port, b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 5000)
    minutes = 2 + (time.monotonic() - begun) // 60  # partial minutes included
    assert sum(event["event"] == "request refused" for event in sidecar.events()) <= 60 * minutes
