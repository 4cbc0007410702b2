"""Expose a real sidecar to a fault and measure what one client and a hundred concurrent clients experience."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.faults.catalogue import Fault, Site, write
from tests.contract.faults.faulty_authority import FaultyAuthority
from tests.contract.faults.forwarding import FakeForwardProxy
from tests.support.waiting import wait_until
from tests.unit.wisp.proxy.sidecar import Answer, Sidecar, pod, running

CROWD = 100
_AT_ONCE = 8


@dataclass(frozen=True)
class Experience:
    """The answers to the clients of one sidecar, and its calls of Entra; times in seconds.

    A single client makes a second request right after the first answer; only its sidecar is observed to recover.
    """

    answers: Sequence[Answer]
    waited: float
    calls: int
    recovered: float = 0.0


@dataclass(frozen=True)
class Experiences:
    """The results of a fault for one client, and for a hundred at once."""

    one: Experience
    crowd: Experience


def experience_of_one(fault: Fault, folder: Path) -> Experience:
    """Expose a sidecar with one client to `fault`, and end the fault."""
    with struck(fault, folder) as (site, sidecar):
        begun = time.monotonic()
        answers = sidecar.tokens_at_once(1, times=2)
        waited, calls = time.monotonic() - begun, site.authority.calls
        fault.fix(site)
        fixed = time.monotonic()
        wait_until(lambda: sidecar.token().status == 200, f"a token after {fault.name!r}", pause=0.05)
        return Experience(answers, waited, calls, time.monotonic() - fixed)


def experience_of_many(fault: Fault, folder: Path) -> Experience:
    """Expose a sidecar with a hundred clients to `fault`."""
    with struck(fault, folder) as (site, sidecar):
        begun = time.monotonic()
        answers = sidecar.tokens_at_once(CROWD)
        return Experience(answers, time.monotonic() - begun, site.authority.calls)


@contextmanager
def struck(fault: Fault, folder: Path) -> Iterator[tuple[Site, Sidecar]]:
    """Run a sidecar, and return it with its environment once the fault has started."""
    (folder / "volume").mkdir(parents=True)
    with FaultyAuthority(folder) as authority, FakeForwardProxy() as proxy:
        own = pod(folder / "volume", authority.distant_url if fault.through_proxy else authority.url)
        if fault.through_proxy:
            own.environment["HTTPS_PROXY"] = f"http://user:hunter2@{proxy.address}"
        with running(own, "--authority-ca", str(authority.ca_file)) as sidecar:
            site = Site(authority, own, proxy)
            _warm_up(sidecar, site, needs_connection=fault.needs_connection)
            fault.strike(site)
            yield site, sidecar
            assert "hunter2" not in "".join(sidecar.output)


def _warm_up(sidecar: Sidecar, site: Site, *, needs_connection: bool) -> None:
    """Wait until the exchange process runs: one request that needs no exchange, and one that opens a connection."""
    own = site.pod.token_file.read_text()
    site.pod.token_file.unlink()
    assert sidecar.token("https://warm.test").status == 503
    write(site, own)
    if needs_connection:
        assert sidecar.token("https://kept.test").status == 200
    site.authority.forget()


def experiences(faults: Sequence[Fault], folder: Path) -> Mapping[str, Experiences]:
    """Return the results by name; several faults are tried in parallel, since they mostly wait."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        tried = {
            fault.name: (
                threads.submit(experience_of_one, fault, folder / f"{number}-one"),
                threads.submit(experience_of_many, fault, folder / f"{number}-crowd"),
            )
            for number, fault in enumerate(faults)
        }
        return {name: Experiences(one.result(), crowd.result()) for name, (one, crowd) in tried.items()}
