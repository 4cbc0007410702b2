"""The processes under siege, each in a control group of 128 MiB, and what their genuine clients do."""

import base64
import contextlib
import http.client
import itertools
import json
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.siege.attacker import Ports
from tests.siege.cgroup import MemoryGroup, memory_hierarchy
from tests.siege.gateway_cases import ATTACKED_CLIENT_ID, WORKLOADS, granted_token, workload_token
from tests.siege.witness import Act
from tests.support.authority import Authority
from tests.support.fakes import ARM, token_target
from tests.unit.wisp.gateway.process import CLIENT_ID as GATEWAY_CLIENT_ID
from tests.unit.wisp.gateway.process import GatewayConnection, RunningGateway, form, surroundings
from tests.unit.wisp.gateway.process import gateway as running_gateway
from tests.unit.wisp.kubernetes.apiserver import ApiServer, service_account
from tests.unit.wisp.kubernetes.apiserver import running as running_api_server
from tests.unit.wisp.proxy.node import Node
from tests.unit.wisp.proxy.sidecar import Sidecar, pod
from tests.unit.wisp.proxy.sidecar import running as running_sidecar
from tests.unit.wisp.webhook.process import CLIENT_ID, Connection, Webhook, review, trusted
from tests.unit.wisp.webhook.process import webhook as running_webhook
from wisp.gateway.authorizer import CONCURRENT_REVIEWS

LIMIT = 128 * 1024 * 1024
"""Bytes: the memory limit of both containers in the chart."""
REVIEW_PATIENCE = 10.0
"""Seconds that an API server waits for a webhook by default, and SDKs for the metadata service."""
PROBE_PATIENCE = 5.0
"""timeoutSeconds of the chart's probes."""
_LAST_LINES = 20
WIDE_CLIENT_ID = "w" * 2000
"""The client id of the service account "wide": a patch for many of its containers is large."""


class Target(Protocol):
    """A process under siege."""

    group: MemoryGroup
    kept_connections: int
    """Connections of its own that it may keep for later, once it has needed them."""

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process itself; its children are in the group, too."""

    @property
    def ports(self) -> Ports:
        """Where it listens."""

    def acts(self) -> list[Act]:
        """Return what its genuine clients do."""

    def last_words(self) -> str:
        """Return the end of its log."""


def descriptors(target: Target) -> int:
    """Count the process's open files, of which each connection is one."""
    return sum(1 for _ in Path(f"/proc/{target.process.pid}/fd").iterdir())


class WebhookTarget:
    """The webhook, its API server, and that server as a client."""

    kept_connections = 0

    def __init__(self, hook: Webhook, api: ApiServer, group: MemoryGroup) -> None:
        self.hook = hook
        self.api = api
        self.group = group
        self._context = trusted(api)
        self._persistent_connection: Connection | None = None
        self._numbers = itertools.count()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process itself."""
        return self.hook.process

    @property
    def ports(self) -> Ports:
        """Where it listens."""
        return Ports(self.hook.port, self.hook.health_port)

    def acts(self) -> list[Act]:
        """Return what API servers, the kubelet and Prometheus do."""
        paths = itertools.cycle(("/healthz", "/readyz", "/metrics"))
        return [
            Act("review, new connection", self._review_on_new),
            Act("review, persistent connection", self._review_on_persistent),
            Act("probe", lambda: _probe(self.hook.health_port, next(paths))),
        ]

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(map(str, self.hook.log[-_LAST_LINES:]))

    def close(self) -> None:
        """Close the persistent connection."""
        if self._persistent_connection is not None:
            self._persistent_connection.close()
            self._persistent_connection = None

    def _connect(self) -> Connection:
        return Connection(self.hook.port, self._context, REVIEW_PATIENCE)

    def _review_on_new(self) -> None:
        with self._connect() as connection:
            self._review(connection)

    def _review_on_persistent(self) -> None:
        """Send a review on the persistent connection."""
        if self._persistent_connection is not None and is_closed(self._persistent_connection.socket):
            self.close()
        self._persistent_connection = self._persistent_connection or self._connect()
        try:
            self._review(self._persistent_connection)
        except BaseException:
            self.close()
            raise

    def _review(self, connection: Connection) -> None:
        """Review a pod, every third one of 100 kB. They all differ, so that no answer is remembered."""
        number = next(self._numbers)
        uid = f"genuine-{number}"
        answer = connection.review(review(uid=uid, **_pod(uid, variables=0 if number % 3 else 1000)))
        assert answer["uid"] == uid, answer["uid"]
        assert answer["allowed"], answer
        assert CLIENT_ID in base64.b64decode(answer["patch"]).decode()


def _pod(name: str, *, variables: int) -> dict[str, Any]:
    """Return a labelled pod; each environment variable adds 100 bytes."""
    env = [{"name": f"VARIABLE_{number}", "value": "x" * 60} for number in range(variables)]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "main", "image": "app:1", "env": env}]},
    }


def is_closed(connection: socket.socket) -> bool:
    """Say whether the server has closed a connection on which nothing is under way.

    Go's client, which API servers use, and those of the SDKs look before they send a request, and connect again. That
    a server closes idle connections is HTTP's normal course (RFC 9112 §9.3.1); that it closes one with a request on it
    is not, and fails.
    """
    return bool(select.select((connection,), (), (), 0)[0])


def _probe(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:200])


class SidecarTarget:
    """The sidecar, the authority behind it, the node's metadata service, and the pod's own clients."""

    kept_connections = 0

    def __init__(self, sidecar: Sidecar, authority: Authority, node: Node, group: MemoryGroup) -> None:
        self.sidecar = sidecar
        self.authority = authority
        self.node = node
        self.group = group
        self._persistent_connection: http.client.HTTPConnection | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process itself."""
        return self.sidecar.process

    @property
    def ports(self) -> Ports:
        """Where it listens: tokens and probes share a port."""
        return Ports(self.sidecar.port, self.sidecar.port)

    def acts(self) -> list[Act]:
        """Return what the pod's workload and the kubelet do."""
        paths = itertools.cycle(("/readyz", "/metrics"))
        return [
            Act("token, new connection", self._token_on_new),
            Act("token, persistent connection", self._token_on_persistent),
            Act("probe", lambda: _probe(self.sidecar.port, next(paths))),
        ]

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(map(str, self.sidecar.events()[-_LAST_LINES:]))

    def close(self) -> None:
        """Close the persistent connection."""
        if self._persistent_connection is not None:
            self._persistent_connection.close()
            self._persistent_connection = None

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.sidecar.port, timeout=REVIEW_PATIENCE)

    def _token_on_new(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            self._token(connection)

    def _token_on_persistent(self) -> None:
        """Request a token on the persistent connection."""
        if self._persistent_connection is not None and is_closed(self._persistent_connection.sock):
            self.close()
        if self._persistent_connection is None:
            self._persistent_connection = self._connect()
            self._persistent_connection.connect()
            self._persistent_connection.auto_open = 0
        try:
            self._token(self._persistent_connection)
        except BaseException:
            self.close()
            raise

    def _token(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", token_target(ARM), headers={"Metadata": "true"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body[:200])
        document = json.loads(body)
        assert document["resource"] == ARM
        assert document["access_token"].startswith("eyJ")


class GatewayTarget:
    """The gateway, the API server that reviews its callers, Entra, and genuine callers."""

    kept_connections = CONCURRENT_REVIEWS

    def __init__(self, gateway: RunningGateway, group: MemoryGroup) -> None:
        self.gateway = gateway
        self.group = group
        self._known = self._new_form()
        self._persistent_connection: GatewayConnection | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process itself."""
        return self.gateway.process

    @property
    def ports(self) -> Ports:
        """Where it listens."""
        return Ports(self.gateway.port, self.gateway.health_port)

    def acts(self) -> list[Act]:
        """Return what callers, the kubelet and Prometheus do."""
        paths = itertools.cycle(("/healthz", "/readyz", "/metrics"))
        return [
            Act("new caller", lambda: self._token_on_new(self._new_form())),
            Act("known caller, new connection", lambda: self._token_on_new(self._known)),
            Act("known caller, persistent connection", self._token_on_persistent),
            Act("probe", lambda: _probe(self.gateway.health_port, next(paths))),
        ]

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(map(str, self.gateway.log[-_LAST_LINES:]))

    def close(self) -> None:
        """Close the persistent connection."""
        if self._persistent_connection is not None:
            self._persistent_connection.close()
            self._persistent_connection = None

    def _new_form(self) -> bytes:
        """Return the request of a pod that was not there before."""
        callers = self.gateway.callers
        return form(callers.token(callers.pod("genuine", granted=GATEWAY_CLIENT_ID)), GATEWAY_CLIENT_ID)

    def _connect(self) -> GatewayConnection:
        return GatewayConnection(self.gateway.port, self.gateway.trusting(), REVIEW_PATIENCE)

    def _token_on_new(self, body: bytes) -> None:
        with self._connect() as connection:
            _token(connection, body)

    def _token_on_persistent(self) -> None:
        """Request a token on the persistent connection."""
        if self._persistent_connection is not None and is_closed(self._persistent_connection.socket):
            self.close()
        self._persistent_connection = self._persistent_connection or self._connect()
        try:
            _token(self._persistent_connection, self._known)
        except BaseException:
            self.close()
            raise


def _token(connection: GatewayConnection, body: bytes) -> None:
    answer = connection.post(body)
    assert answer.status == 200, answer
    assert answer.document["access_token"].startswith("eyJ")


@contextmanager
def gateway_target(folder: Path) -> Iterator[GatewayTarget]:
    """Run a gateway that is ready, in a group of its own. Attackers' workloads may use `ATTACKED_CLIENT_ID`."""
    with _memory_group("gateway") as group, surroundings(folder) as (api, entra):
        callers = api.world.callers
        granted, other = callers.pod("attacker", "granted", granted=ATTACKED_CLIENT_ID), callers.pod("attacker")
        for number in range(WORKLOADS):
            callers.accept(workload_token(number), other._replace(name=f"other-{number}", uid=f"other-{number}"))
        callers.accept(granted_token(), granted)
        # The genuine callers of this suite are fewer than in a cluster, and one of them asks without a pause.
        with running_gateway(api, entra, folder, "--caller-rate", "100", wrapper=group.wrapper) as running:
            running.await_ready()
            target = GatewayTarget(running, group)
            try:
                yield target
            finally:
                target.close()


@contextmanager
def _memory_group(kind: str) -> Iterator[MemoryGroup]:
    hierarchy = memory_hierarchy()
    assert hierarchy is not None, "tests/support/needs.py skips these tests without one"
    group = MemoryGroup(f"wisp-siege-{kind}-{os.getpid()}", LIMIT, hierarchy)
    try:
        yield group
    finally:
        group.remove()


@contextmanager
def webhook_target(folder: Path) -> Iterator[WebhookTarget]:
    """Run a webhook that is ready, in a group of its own."""
    with _memory_group("webhook") as group, running_api_server() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        api.world.put("serviceaccounts", service_account("wide", client_id=WIDE_CLIENT_ID))
        with running_webhook(api, folder, wrapper=group.wrapper) as hook:
            hook.await_ready()
            target = WebhookTarget(hook, api, group)
            try:
                yield target
            finally:
                target.close()


@contextmanager
def sidecar_target(folder: Path) -> Iterator[SidecarTarget]:
    """Run a sidecar that is ready and has a token, in a group of its own."""
    with _memory_group("sidecar") as group, Authority(folder) as authority, Node() as node:
        flags = ("--authority-ca", str(authority.ca_file), "--metadata-endpoint", node.address)
        with running_sidecar(pod(folder, authority.url), *flags, wrapper=group.wrapper) as sidecar:
            target = SidecarTarget(sidecar, authority, node, group)
            try:
                yield target
            finally:
                target.close()
