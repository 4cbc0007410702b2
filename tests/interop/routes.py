"""The two ways in which a client's request reaches a sidecar, or the recorder in its place."""

import itertools
import os
import secrets
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.interop import authority
from tests.interop.authority import Authority
from tests.interop.cells import Route, Sidecar
from tests.interop.injection import IDENTITY, Injected, Sharing, injected
from tests.support.waiting import PATIENCE
from tests.unit.wisp.redirect.pod import confine
from wisp import SIDECAR_UID
from wisp_local.sandbox.namespaces import APPLICATION_UID, NetworkNamespace, new_namespace
from wisp_local.sandbox.processes import ProcessContext, run, running_component

_RECORDER = Path(__file__).with_name("recorder.py")
_LOOPBACK = "127.0.0.1"
_NODE = "10.77.255.1"
_PORT = 8000
_BARE = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
# There is nothing beyond the node: it says so at once, where silence would cost whoever resolves a name ten seconds.
_SAY_UNREACHABLE = "cd /proc/sys/net/ipv4 && echo 1 > ip_forward && echo 0 > icmp_ratelimit"
# The checkout, the cache of clients and pytest's folders may be closed to other users; they may read, and no more.
_READER = ("dac_read_search",)


@dataclass(frozen=True)
class Spot:
    """Where a server can listen, on which port, and where its clients run."""

    server: ProcessContext
    port: int
    client: ProcessContext


@dataclass(frozen=True)
class Site:
    """An authority at `host` of `place`, and a way to make spots from which it is reached by the `route`.

    Logs go to `folder`.
    """

    route: Route
    place: ProcessContext
    host: str
    authority: Authority
    folder: Path
    spot: Callable[[], AbstractContextManager[Spot]]

    @property
    def surroundings(self) -> Mapping[str, str]:
        """The variables that name the services for clients, and the CA that they trust."""
        trusted = str(self.authority.ca_file)
        return {
            "WISP_RESOURCE_MANAGER": self.authority.services,
            "WISP_SERVICES": self.authority.services,
            "WISP_TUNNEL": self.authority.tunnel,
            "REQUESTS_CA_BUNDLE": trusted,
            "SSL_CERT_FILE": trusted,
            "NODE_EXTRA_CA_CERTS": trusted,
            "JDK_JAVA_OPTIONS": f"-Djavax.net.ssl.trustStore={self.authority.trust_store}",
        }

    @contextmanager
    def sidecar(self, kind: Sidecar) -> Iterator[ProcessContext]:
        """Run a sidecar until the block is left, ready when it begins; give the place where its clients run.

        The webhook's variables, but those that tell where to ask, are the sidecar's alone.
        """
        with self.spot() as spot:
            told = self._injected(spot, Sharing.SIDECAR_ONLY)
            usual = {name: value for name, value in told.sidecar.items() if name not in IDENTITY}
            place = spot.server.with_variables({**usual, **self.authority.environment(kind)})
            command = (sys.executable, "-m", "wisp.proxy", "--proxy-port", str(spot.port))
            trusting = (*command, "--authority-ca", str(self.authority.ca_file))
            with running_component("the sidecar", place, self._log(), *trusting) as component:
                probe = run(place, *command, "--probe")
                if probe.status != 0:
                    raise component.failure("did not become ready", probe.errors)
                yield spot.client.with_variables(told.application)

    @contextmanager
    def recorder(self, sharing: Sharing = Sharing.SIDECAR_ONLY) -> Iterator[tuple[ProcessContext, Path]]:
        """Run a recorder in the sidecar's place; give the place where its clients run, and the file of its records.

        With `Sharing.ALL`, clients reach the authority as Entra.
        """
        log = self._log()
        with self.spot() as spot:
            command = (sys.executable, str(_RECORDER), str(spot.port))
            with running_component("the recorder", spot.server, log, *command) as component:
                component.first_line(30)
                yield spot.client.with_variables(self._injected(spot, sharing).application), log

    def tunnel(self, targets: Mapping[str, str]) -> AbstractContextManager[str]:
        """Run a proxy beside the authority through which the https URLs in `targets` have other names; give its URL."""
        return authority.tunnelling(self.place, self.host, targets, self.folder)

    def _injected(self, spot: Spot, sharing: Sharing) -> Injected:
        """Return what the webhook gives both; the projected token is where the authority has it."""
        identity = self.authority.default
        told = injected(self.route, sharing, spot.port, (identity.client_id, identity.tenant_id))
        if "AZURE_FEDERATED_TOKEN_FILE" not in told.application:
            return told
        reached = {
            "HTTPS_PROXY": self.authority.tunnel,
            "NO_PROXY": f"127.0.0.1,169.254.169.254,{_NODE}",
            "JDK_JAVA_OPTIONS": f"{self.surroundings['JDK_JAVA_OPTIONS']} {_java_proxy(self.authority.tunnel)}",
        }
        file = {"AZURE_FEDERATED_TOKEN_FILE": str(self.authority.token_file)}
        return Injected({**told.application, **file, **reached}, told.sidecar)

    def _log(self) -> Path:
        return self.folder / f"{uuid.uuid4()}.log"


@contextmanager
def by_environment(folder: Path) -> Iterator[Site]:
    """Reach a server on loopback, by variables that tell the clients of it; needs no privilege."""
    here = ProcessContext((), _BARE)

    @contextmanager
    def spot() -> Iterator[Spot]:
        yield Spot(here, _free_port(), here)

    with authority.running(here, _LOOPBACK, folder) as asked:
        yield Site(Route.ENVIRONMENT, here, _LOOPBACK, asked, folder, spot)


@contextmanager
def by_interception(folder: Path) -> Iterator[Site]:
    """Reach a server in a pod, whose redirect takes the clients to it; needs root."""
    numbers = itertools.count()
    with _node() as node:

        @contextmanager
        def spot() -> Iterator[Spot]:
            with _pod(node, next(numbers)) as pod:
                yield Spot(_as_user(pod, SIDECAR_UID), _PORT, _as_user(pod, APPLICATION_UID))

        with authority.running(node, _NODE, folder) as asked:
            yield Site(Route.INTERCEPTION, node, _NODE, asked, folder, spot)


@contextmanager
def _node() -> Iterator[ProcessContext]:
    """Make the namespace of a node, which has an address that every pod finds; needs root."""
    with _namespace() as made:
        place = ProcessContext(made.prefix, _BARE, (made.descriptor,))
        _ip(place, f"link set lo up\naddress add {_NODE}/32 dev lo\n")
        _must(place, "sh", "-c", _SAY_UNREACHABLE)
        yield place


@contextmanager
def _pod(node: ProcessContext, number: int) -> Iterator[ProcessContext]:
    """Make the namespace of a pod with a veth pair and a default route to the node, and redirect it."""
    with _namespace() as made:
        inside = ProcessContext(made.prefix, _BARE, (made.descriptor,))
        both = ProcessContext(node.prefix, _BARE, (*node.descriptors, made.descriptor))
        network = f"10.{78 + number // 256}.{number % 256}"
        there, gateway = f"{network}.2", f"{network}.1"
        _ip(both, f"link add veth{number} type veth peer name eth0 netns {made.path}\n")
        _ip(both, f"address add {gateway}/24 dev veth{number}\nlink set veth{number} up\n")
        _ip(inside, f"link set lo up\naddress add {there}/24 dev eth0\nlink set eth0 up\n")
        _ip(inside, f"route add default via {gateway}\n")
        _must(inside, sys.executable, "-m", "wisp", "redirect", "up", "--proxy-port", str(_PORT))
        yield inside


@contextmanager
def _namespace() -> Iterator[NetworkNamespace]:
    made = new_namespace()
    try:
        yield made
    finally:
        os.close(made.descriptor)


def _as_user(place: ProcessContext, uid: int) -> ProcessContext:
    """Return the same place for a program of that user."""
    return ProcessContext((*place.prefix, *confine(_READER, uid)), place.environment, place.descriptors)


def _ip(place: ProcessContext, batch: str) -> None:
    _must(place, "ip", "-batch", "-", text=batch)


def _must(place: ProcessContext, *command: str, text: str = "") -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(
        [*place.prefix, *command],
        env=dict(place.environment),
        pass_fds=place.descriptors,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"


def _java_proxy(url: str) -> str:
    """Return the options that have Java use a proxy for https only."""
    parts = urlsplit(url)
    direct = f"-Dhttp.nonProxyHosts=127.0.0.1|169.254.169.254|{_NODE}"
    return (
        f"-Dhttps.proxyHost={parts.hostname} -Dhttps.proxyPort={parts.port} {direct} -Djava.net.useSystemProxies=true"
    )


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that no client is given to ask from meanwhile."""
    while True:
        port = 10000 + secrets.randbelow(20000)  # Linux gives them ports from 32768
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
