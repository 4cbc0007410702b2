"""The two routes on which a client's request reaches a sidecar, or a recorder in its place."""

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

from tests.interop import local_cloud
from tests.interop.cells import Route, Sidecar
from tests.interop.injection import IDENTITY, Injected, Sharing, inject
from tests.interop.local_cloud import Authority
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
# There is nothing beyond the node. It reports that at once: without an answer, resolving a name would take ten seconds.
_SAY_UNREACHABLE = "cd /proc/sys/net/ipv4 && echo 1 > ip_forward && echo 0 > icmp_ratelimit"
# The checkout, the cache of clients and pytest's folders may be closed to other users: these may only read.
_READER = ("dac_read_search",)


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, its port, and where its clients run."""

    server: ProcessContext
    port: int
    client: ProcessContext


@dataclass(frozen=True)
class Setup:
    """An authority at `host` in `place`, and a function that makes endpoints which clients reach by the `route`.

    Logs are written to `folder`.
    """

    route: Route
    place: ProcessContext
    host: str
    authority: Authority
    folder: Path
    endpoint: Callable[[], AbstractContextManager[Endpoint]]

    @property
    def client_variables(self) -> Mapping[str, str]:
        """The variables of clients with the URLs of services and the CA to trust."""
        ca_file = str(self.authority.ca_file)
        return {
            "WISP_RESOURCE_MANAGER": self.authority.services,
            "WISP_SERVICES": self.authority.services,
            "WISP_TUNNEL": self.authority.tunnel,
            "REQUESTS_CA_BUNDLE": ca_file,
            "SSL_CERT_FILE": ca_file,
            "NODE_EXTRA_CA_CERTS": ca_file,
            "JDK_JAVA_OPTIONS": f"-Djavax.net.ssl.trustStore={self.authority.trust_store}",
        }

    @contextmanager
    def sidecar(self, kind: Sidecar) -> Iterator[ProcessContext]:
        """Run a sidecar until the block is left, which begins when it is ready; give the context of its clients.

        Only the sidecar has the webhook's variables, except those with its address.
        """
        with self.endpoint() as endpoint:
            variables = self._injected(endpoint, Sharing.SIDECAR_ONLY)
            shared = {name: value for name, value in variables.sidecar.items() if name not in IDENTITY}
            place = endpoint.server.with_variables({**shared, **self.authority.environment(kind)})
            command = (sys.executable, "-m", "wisp.proxy", "--proxy-port", str(endpoint.port))
            server = (*command, "--authority-ca", str(self.authority.ca_file))
            with running_component("the sidecar", place, self._log(), *server) as component:
                probe = run(place, *command, "--probe")
                if probe.status != 0:
                    raise component.failure("did not become ready", probe.errors)
                yield endpoint.client.with_variables(variables.application)

    @contextmanager
    def recorder(self, sharing: Sharing = Sharing.SIDECAR_ONLY) -> Iterator[tuple[ProcessContext, Path]]:
        """Run a recorder instead of the sidecar; give the context of its clients, and the file of its records.

        With `Sharing.ALL`, clients reach the authority as Entra.
        """
        log = self._log()
        with self.endpoint() as endpoint:
            command = (sys.executable, str(_RECORDER), str(endpoint.port))
            with running_component("the recorder", endpoint.server, log, *command) as component:
                component.first_line(30)
                yield endpoint.client.with_variables(self._injected(endpoint, sharing).application), log

    def tunnel(self, targets: Mapping[str, str]) -> AbstractContextManager[str]:
        """Run a proxy next to the authority by which the https URLs in `targets` have other names; give its URL."""
        return local_cloud.running_tunnel(self.place, self.host, targets, self.folder)

    def _injected(self, endpoint: Endpoint, sharing: Sharing) -> Injected:
        """Return the webhook's variables for both containers, with the path of the authority's token file."""
        identity = self.authority.default
        variables = inject(self.route, sharing, endpoint.port, (identity.client_id, identity.tenant_id))
        if "AZURE_FEDERATED_TOKEN_FILE" not in variables.application:
            return variables
        tunnel = {
            "HTTPS_PROXY": self.authority.tunnel,
            "NO_PROXY": f"127.0.0.1,169.254.169.254,{_NODE}",
            "JDK_JAVA_OPTIONS": f"{self.client_variables['JDK_JAVA_OPTIONS']} {_java_proxy(self.authority.tunnel)}",
        }
        file = {"AZURE_FEDERATED_TOKEN_FILE": str(self.authority.token_file)}
        return Injected({**variables.application, **file, **tunnel}, variables.sidecar)

    def _log(self) -> Path:
        return self.folder / f"{uuid.uuid4()}.log"


@contextmanager
def by_environment(folder: Path) -> Iterator[Setup]:
    """Reach a server on loopback by environment variables; needs no privilege."""
    here = ProcessContext((), _BARE)

    @contextmanager
    def endpoint() -> Iterator[Endpoint]:
        yield Endpoint(here, _free_port(), here)

    with local_cloud.running_authority(here, _LOOPBACK, folder) as local:
        yield Setup(Route.ENVIRONMENT, here, _LOOPBACK, local, folder, endpoint)


@contextmanager
def by_interception(folder: Path) -> Iterator[Setup]:
    """Reach a server in a pod by its redirect; needs root."""
    numbers = itertools.count()
    with _node() as node:

        @contextmanager
        def endpoint() -> Iterator[Endpoint]:
            with _pod(node, next(numbers)) as pod:
                yield Endpoint(_as_user(pod, SIDECAR_UID), _PORT, _as_user(pod, APPLICATION_UID))

        with local_cloud.running_authority(node, _NODE, folder) as local:
            yield Setup(Route.INTERCEPTION, node, _NODE, local, folder, endpoint)


@contextmanager
def _node() -> Iterator[ProcessContext]:
    """Make the namespace of a node, with an address that all pods reach; needs root."""
    with _namespace() as made:
        place = ProcessContext(made.prefix, _BARE, (made.descriptor,))
        _ip(place, f"link set lo up\naddress add {_NODE}/32 dev lo\n")
        _run_checked(place, "sh", "-c", _SAY_UNREACHABLE)
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
        _run_checked(inside, sys.executable, "-m", "wisp", "redirect", "up", "--proxy-port", str(_PORT))
        yield inside


@contextmanager
def _namespace() -> Iterator[NetworkNamespace]:
    made = new_namespace()
    try:
        yield made
    finally:
        os.close(made.descriptor)


def _as_user(place: ProcessContext, uid: int) -> ProcessContext:
    """Return the context for a program of that user."""
    return ProcessContext((*place.prefix, *confine(_READER, uid)), place.environment, place.descriptors)


def _ip(place: ProcessContext, batch: str) -> None:
    _run_checked(place, "ip", "-batch", "-", text=batch)


def _run_checked(place: ProcessContext, *command: str, text: str = "") -> None:
    """Run a command, and check that it succeeds."""
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
    """Return the options by which Java uses a proxy only for https."""
    parts = urlsplit(url)
    direct = f"-Dhttp.nonProxyHosts=127.0.0.1|169.254.169.254|{_NODE}"
    return (
        f"-Dhttps.proxyHost={parts.hostname} -Dhttps.proxyPort={parts.port} {direct} -Djava.net.useSystemProxies=true"
    )


def _free_port() -> int:
    """Return a free port of 127.0.0.1 that the kernel does not give to clients."""
    while True:
        port = 10000 + secrets.randbelow(20000)  # Linux gives clients ports from 32768
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
