"""What runs beside the command: a sidecar and, where there is no real authority, a local cloud."""

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from wisp.base.secret import Secret
from wisp.proxy.probe import probe
from wisp_local.demo.plain import reserved_port
from wisp_local.run.messages import Ready
from wisp_local.run.parts import beside, in_memory, path_of, rewrite
from wisp_local.run.wanted import ISSUER_BASE, Authority, LocalCloud, RealAuthority
from wisp_local.sandbox.processes import Component, Place

_START = 20.0  # seconds to come up
_PATIENCE = 0.1  # seconds between looks at whether the sidecar still runs


@dataclass(frozen=True)
class Site:
    """Where the parts run: the cloud at `node`, listening on `host`; the sidecar at `pod`, found within `network`.

    `header` is what clients must show, None where nobody else can reach the sidecar. `ports` are the cloud's and the
    sidecar's; `flags` are what else the sidecar is told.
    """

    node: Place
    pod: Place
    ports: tuple[int, int]
    host: str = "127.0.0.1"
    header: Secret | None = None
    network: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """The answer for the caller, and the running parts; call `renew` from time to time: it renews the assertion."""

    ready: Ready
    parts: tuple[Component, ...]
    renew: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _Told:
    """What the sidecar is told; `ca` is a file, `descriptors` are what its files are open at."""

    variables: Mapping[str, str]
    ca: str | None
    descriptors: tuple[int, ...] = ()


@contextlib.contextmanager
def on_loopback(environment: Mapping[str, str]) -> Iterator[Site]:
    """Give the site that takes no preparation: this machine's own network, which its other users share."""
    here = Place((), environment)
    with reserved_port() as cloud, reserved_port() as sidecar:
        yield Site(here, here, (cloud, sidecar), header=Secret(secrets.token_urlsafe(32)))


@contextlib.contextmanager
def serve(authority: Authority, site: Site) -> Iterator[Serving]:
    """Serve tokens of `authority` at `site` until the block is left; raises WispError.

    Both parts start at once: the cloud's certificate and port, and the identity, are known before it listens.
    """
    with contextlib.ExitStack() as stack:
        cloud: tuple[Component, ...] = ()
        renew = Serving.renew
        if isinstance(authority, LocalCloud):
            cloud, told, renew = _start_cloud(authority, site, stack)
        else:
            told = _told_of_real(authority)
        sidecar = stack.enter_context(_sidecar(told, site))
        for each in cloud:
            each.first_line(_START)
        _wait_for(sidecar, site)
        yield Serving(Ready(site.ports[1], told.variables["AZURE_CLIENT_ID"], site.header), (*cloud, sidecar), renew)


def _told_of_real(authority: RealAuthority) -> _Told:
    variables = {
        "AZURE_AUTHORITY_HOST": authority.host,
        "AZURE_TENANT_ID": authority.tenant,
        "AZURE_CLIENT_ID": authority.client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(authority.token_file),
        "WISP_IDENTITY_HEADER_REQUIRED": "true",  # these tokens are worth something, and loopback is everyone's
    }
    return _Told(variables, None if authority.ca is None else str(authority.ca))


def _start_cloud(
    wanted: LocalCloud, site: Site, stack: contextlib.ExitStack
) -> tuple[tuple[Component, ...], _Told, Callable[[], None]]:
    """Start the cloud, and fill it meanwhile: what takes time, the first time, is generating keys."""
    state = wanted.state or Path(stack.enter_context(TemporaryDirectory(prefix="wisp-run-"))) / "run.db"
    listen = ("--host", site.host, "--port", str(site.ports[0]), "--issuer-base", ISSUER_BASE)
    rest = ("--token-lifetime", str(wanted.token_lifetime), "--no-page", "--quiet")
    command = (sys.executable, "-m", "wisp", "cloud", "serve", "--state", str(state), *listen, *rest)
    cloud = stack.enter_context(beside("the local cloud", site.node, *command))
    from wisp_local.run.local import RENEW_AFTER, federate, new_assertion  # noqa: PLC0415 -- cryptography takes its time to load, as it does for the cloud

    made = federate(state, wanted)
    assertion = stack.enter_context(in_memory("assertion", made.assertion))
    ca = stack.enter_context(in_memory("ca", made.ca))
    variables = {
        "AZURE_AUTHORITY_HOST": f"https://{site.host}:{site.ports[0]}/",
        "AZURE_TENANT_ID": made.identity.tenant_id,
        "AZURE_CLIENT_ID": made.identity.client_id,
        "AZURE_OBJECT_ID": made.identity.principal_id,
        "AZURE_RESOURCE_ID": made.identity.resource_id,
        "AZURE_FEDERATED_TOKEN_FILE": path_of(assertion),
    }
    renew = Renewal(lambda: rewrite(assertion, new_assertion(state)), RENEW_AFTER, time.time)
    return (cloud,), _Told(variables, path_of(ca), (assertion, ca)), renew


class Renewal:
    """Does `act` when it is called and `period` seconds have passed on `clock` since the last time, or the start.

    The clock is the wall's: a machine that was suspended is late, and the assertion ages in its sleep.
    """

    def __init__(self, act: Callable[[], None], period: float, clock: Callable[[], float]) -> None:
        self._act = act
        self._period = period
        self._clock = clock
        self._last = clock()

    def __call__(self) -> None:
        """Act if it is time; after a failure, which raises WispError, the next call tries again."""
        if self._clock() - self._last >= self._period:
            self._act()
            self._last = self._clock()


def _sidecar(told: _Told, site: Site) -> AbstractContextManager[Component]:
    header = {} if site.header is None else {"IDENTITY_HEADER": site.header.reveal()}
    place = Place(site.pod.prefix, site.pod.environment, (*site.pod.descriptors, *told.descriptors))
    trusted = () if told.ca is None else ("--authority-ca", told.ca)
    command = (sys.executable, "-m", "wisp.proxy", "--proxy-port", str(site.ports[1]), *trusted, *site.flags)
    return beside("the sidecar", place.having({**told.variables, **header}), *command)


def _wait_for(sidecar: Component, site: Site) -> None:
    """Wait until the sidecar says that it is ready; raises FailedError once it cannot."""
    end = time.monotonic() + _START
    with site.network():
        while not sidecar.has_ended() and time.monotonic() < end:
            if probe(site.ports[1], _PATIENCE) is None and not sidecar.has_ended():
                return
    raise sidecar.failure("did not become ready")
