"""Puts a real sidecar to a fault and measures what its clients live through: one, and a hundred at once."""

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.fakes import token_target
from tests.faults.authority import FaultyAuthority
from tests.faults.catalogue import Fault, Site, write
from tests.faults.forwarding import ForwardProxy
from tests.proxy.sidecar import Answer, Sidecar, pod, running

CROWD = 100
LONGEST_WAIT = 12.0
_PATIENCE = 30.0
_AT_ONCE = 8
_REQUEST = f"GET {token_target()} HTTP/1.1\r\nHost: x\r\nMetadata: true\r\nConnection: close\r\n\r\n".encode()
_ports = count(21_000)
"""Below those that the system takes for clients: a hundred of them at once would be in the way."""


@dataclass(frozen=True)
class Experience:
    """What came of a fault; times in seconds."""

    heard: Answer
    waited: float
    calls: int
    recovered: float
    crowd: tuple[Answer, ...]
    crowd_waited: float
    crowd_calls: int


def experience(fault: Fault, folder: Path) -> Experience:
    """Put one sidecar with one client, and one with a hundred, to `fault`."""
    with struck(fault, folder / "one") as (site, sidecar):
        begun = time.monotonic()
        (heard,) = ask(sidecar, 1)
        waited = time.monotonic() - begun
        calls = site.authority.calls
        (again,) = ask(sidecar, 1)
        assert again.status in (heard.status, 200), "a client that asks again at once hears something else"
        assert site.authority.calls == calls, "a client that asks again at once makes Entra be called"
        fault.mend(site)
        recovered = _until_well(sidecar)
    with struck(fault, folder / "crowd") as (site, sidecar):
        begun = time.monotonic()
        crowd = tuple(ask(sidecar, CROWD))
        return Experience(heard, waited, calls, recovered, crowd, time.monotonic() - begun, site.authority.calls)


@contextmanager
def struck(fault: Fault, folder: Path) -> Iterator[tuple[Site, Sidecar]]:
    """Give a running sidecar, and what surrounds it once the fault has struck."""
    (folder / "volume").mkdir(parents=True)
    with FaultyAuthority(folder) as authority, ForwardProxy() as proxy:
        own = pod(folder / "volume", authority.distant_url if fault.through_proxy else authority.url)
        if fault.through_proxy:
            own.environment["HTTPS_PROXY"] = f"http://user:hunter2@{proxy.address}"
        with running(own, "--authority-ca", str(authority.ca_file), port=_free_port()) as sidecar:
            site = Site(authority, own, proxy)
            _warm_up(sidecar, site, kept=fault.kept)
            fault.strike(site)
            yield site, sidecar
            assert "hunter2" not in "".join(sidecar.said)


def _warm_up(sidecar: Sidecar, site: Site, *, kept: bool) -> None:
    """Wait until the exchange process is there: a question that it can answer by itself, and one for a connection."""
    own = site.pod.token_file.read_text()
    site.pod.token_file.unlink()
    assert sidecar.token("https://warm.test").status == 503
    write(site, own)
    if kept:
        assert sidecar.token("https://kept.test").status == 200
    site.authority.forget()


def experiences(faults: Sequence[Fault], folder: Path) -> dict[str, Future[Experience]]:
    """Return what came of each, by name; several are tried at a time, for they mostly wait."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        folders = (folder / str(number) for number in count())
        return {fault.name: threads.submit(experience, fault, next(folders)) for fault in faults}


def ask(sidecar: Sidecar, clients: int) -> Iterator[Answer]:
    """Let so many clients ask at once, each on a connection of its own; yield what each hears."""
    connections = [socket.create_connection(("127.0.0.1", sidecar.port), timeout=_PATIENCE) for _ in range(clients)]
    for connection in connections:
        connection.sendall(_REQUEST)
    for connection in connections:
        with connection, connection.makefile("rb") as file:
            answer = _parsed(file.read())
        if answer.status != 200:
            sidecar.said.append(repr(answer))
        yield answer


def _parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    pairs = (field.split(": ", 1) for field in fields)
    return Answer(int(status.split()[1]), {name.lower(): value for name, value in pairs}, body)


def _until_well(sidecar: Sidecar) -> float:
    """Ask until there is a token; return the seconds that took."""
    begun = time.monotonic()
    while sidecar.token().status != 200:
        assert time.monotonic() - begun < _PATIENCE, "it does not recover"
        time.sleep(0.05)
    return time.monotonic() - begun


def _free_port() -> int:
    for port in _ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError
