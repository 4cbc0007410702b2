"""What the attendant runs: a sidecar and, without a real authority, a local cloud."""

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
from wisp_local.run.messages import Ready
from wisp_local.run.options import ISSUER_BASE, Authority, LocalCloud, RealAuthority
from wisp_local.sandbox.namespaces import NetworkNamespace, VethPair, pod_network
from wisp_local.sandbox.processes import STANDARD_ERROR, Component, ProcessContext, running_component, tied
from wisp_local.sandbox.sidecar import descriptor_path, memory_file, reserved_port, rewrite, wait_until_ready

_START = 20.0  # seconds for a component to start


@dataclass(frozen=True)
class Site:
    """Where the components run: the cloud in `node`, listening on `host`; the sidecar in `pod`, reached in `network`.

    `ports` are the cloud's and the sidecar's. Clients must send `header`, unless nobody else can reach the sidecar.
    `flags` are further flags of the sidecar.
    """

    node: ProcessContext
    pod: ProcessContext
    ports: tuple[int, int]
    host: str = "127.0.0.1"
    header: Secret | None = None
    network: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    flags: tuple[str, ...] = ()


@contextlib.contextmanager
def loopback_site(environment: Mapping[str, str]) -> Iterator[Site]:
    """Return the site on this machine's own network, which its other users share."""
    context = ProcessContext((), environment)
    with reserved_port() as cloud, reserved_port() as sidecar:
        yield Site(context, context, (cloud, sidecar), header=Secret(secrets.token_urlsafe(32)))


def pod_site(environment: Mapping[str, str]) -> tuple[Site, NetworkNamespace]:
    """Return a site with a pod's network for the command and the sidecar; this process's own network is the node's.

    Only the command and its children are in the pod's network, and only the node's end of its one link can be reached
    from there. Raise ToolError or OSError.
    """
    node, pair, ports = ProcessContext((), environment), VethPair(), (8443, 8000)
    pod = pod_network(node, sys.executable, pair, ports[1])
    context = ProcessContext(pod.prefix, environment, (pod.descriptor,))
    flags = ("--passthrough", "none")  # requests to 169.254.169.254, the sidecar's own too, go to the sidecar
    return Site(node, context, ports, pair.node, network=pod.entered, flags=flags), pod


@dataclass(frozen=True)
class Services:
    """The answer for the client, and the running components. `renew` renews the assertion if it is due."""

    ready: Ready
    components: tuple[Component, ...]
    renew: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _SidecarSettings:
    variables: Mapping[str, str]
    ca: str | None
    descriptors: tuple[int, ...] = ()


@contextlib.contextmanager
def run_services(authority: Authority, site: Site) -> Iterator[Services]:
    """Serve tokens of `authority` at `site` until the block is left. Raise WispError.

    Cloud and sidecar start together: the cloud's certificate, port and identity are known before it listens.
    """
    with contextlib.ExitStack() as stack:
        components: list[Component] = []
        renew = Services.renew
        if isinstance(authority, LocalCloud):
            cloud, settings, renew = _start_cloud(authority, site, stack)
            components.append(cloud)
        else:
            settings = _real_settings(authority)
        sidecar = stack.enter_context(_sidecar(settings, site))
        for component in components:
            component.first_line(_START)
        wait_until_ready(sidecar, site.ports[1], timeout=_START, network=site.network)
        ready = Ready(site.ports[1], settings.variables["AZURE_CLIENT_ID"], site.header)
        yield Services(ready, (*components, sidecar), renew)


def _real_settings(authority: RealAuthority) -> _SidecarSettings:
    variables = {
        "AZURE_AUTHORITY_HOST": authority.host,
        "AZURE_TENANT_ID": authority.tenant,
        "AZURE_CLIENT_ID": authority.client_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(authority.token_file),
        "WISP_IDENTITY_HEADER_REQUIRED": "true",  # these tokens are valuable, and every user can reach loopback
    }
    return _SidecarSettings(variables, None if authority.ca is None else str(authority.ca))


def _start_cloud(
    authority: LocalCloud, site: Site, stack: contextlib.ExitStack
) -> tuple[Component, _SidecarSettings, Callable[[], None]]:
    """Start the cloud and create the identity meanwhile: both generate keys the first time, which takes long."""
    state = authority.state or Path(stack.enter_context(TemporaryDirectory(prefix="wisp-run-"))) / "run.db"
    listen = ("--host", site.host, "--port", str(site.ports[0]), "--issuer-base", ISSUER_BASE)
    options = ("--token-lifetime", str(authority.token_lifetime), "--no-page", "--quiet")
    command = tied("wisp", "cloud", "serve", "--state", str(state), *listen, *options)
    cloud = stack.enter_context(running_component("the local cloud", site.node, STANDARD_ERROR, *command))
    from wisp_local.run.identity import RENEW_AFTER, federate, new_assertion  # noqa: PLC0415 -- cryptography loads slowly, here while the cloud loads it too

    federated = federate(state, authority)
    assertion = stack.enter_context(memory_file("assertion", federated.assertion))
    ca = stack.enter_context(memory_file("ca", federated.ca))
    variables = {
        "AZURE_AUTHORITY_HOST": f"https://{site.host}:{site.ports[0]}/",
        "AZURE_TENANT_ID": federated.identity.tenant_id,
        "AZURE_CLIENT_ID": federated.identity.client_id,
        "AZURE_OBJECT_ID": federated.identity.principal_id,
        "AZURE_RESOURCE_ID": federated.identity.resource_id,
        "AZURE_FEDERATED_TOKEN_FILE": descriptor_path(assertion),
    }
    renew = Renewal(lambda: rewrite(assertion, new_assertion(state)), RENEW_AFTER, time.time)
    return cloud, _SidecarSettings(variables, descriptor_path(ca), (assertion, ca)), renew


class Renewal:
    """Calls `action` if `period` seconds have passed on `clock` since the last time, or the start.

    The clock must be the wall clock: the assertion ages while a machine is suspended.
    """

    def __init__(self, action: Callable[[], None], period: float, clock: Callable[[], float]) -> None:
        self._action = action
        self._period = period
        self._clock = clock
        self._last = clock()

    def __call__(self) -> None:
        """Act if it is time. After a failure, which raises WispError, the next call tries again."""
        if self._clock() - self._last >= self._period:
            self._action()
            self._last = self._clock()


def _sidecar(settings: _SidecarSettings, site: Site) -> AbstractContextManager[Component]:
    header = {} if site.header is None else {"IDENTITY_HEADER": site.header.reveal()}
    context = site.pod.with_variables({**settings.variables, **header}).with_descriptors(*settings.descriptors)
    ca = () if settings.ca is None else ("--authority-ca", settings.ca)
    command = tied("wisp.proxy", "--proxy-port", str(site.ports[1]), *ca, *site.flags)
    return running_component("the sidecar", context, STANDARD_ERROR, *command)
