"""The gateway as a process: a small API server reviews its callers, and a hand-written Entra exchanges its token."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from tests.support.authority import Authority, Behaviour, grants
from tests.support.certificates import server_certificate
from tests.support.fakes import jwt
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE
from tests.unit.wisp.kubernetes.apiserver import ApiServer
from tests.unit.wisp.kubernetes.callers import ISSUER, Callers

TENANT = "22222222-2222-4222-8222-222222222222"
CLIENT_ID = "11111111-1111-4111-8111-111111111111"
SCOPE = "https://management.azure.com/.default"
SERVICE = "wisp-gateway.wisp.svc"
SUBJECT = "system:serviceaccount:wisp:wisp-gateway"
"""Of the gateway's own token."""
PATH = f"/{TENANT}/oauth2/v2.0/token"
COMMAND = [sys.executable, "-m", "wisp", "gateway", "--namespace", "wisp", "--port", "0", "--health-port", "0"]
COMMAND += ["--address", "127.0.0.1", "--health-address", "127.0.0.1", "--shutdown-delay", "0"]


def form(assertion: str, client_id: str = CLIENT_ID, **fields: str) -> bytes:
    """Return the body of a token request, as Azure SDKs send it; `fields` are added or replaced, empty ones removed."""
    pairs = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": SCOPE,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
        **fields,
    }
    return urlencode({name: value for name, value in pairs.items() if value}).encode()


class GatewayAnswer(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]


class GatewayConnection:
    """A persistent connection, as SDKs use."""

    def __init__(self, port: int, context: ssl.SSLContext, patience: float = PATIENCE) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self._http = http.client.HTTPConnection(SERVICE)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=SERVICE)
        except BaseException:
            plain.close()
            raise
        self._http.sock = self.socket

    def post(self, body: bytes, path: str = PATH, method: str = "POST", **headers: str) -> GatewayAnswer:
        """Send one request; in header names, `_` stands for `-`."""
        fields = {"content_type": "application/x-www-form-urlencoded", **headers}
        self._http.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        answer = self._http.getresponse()
        text = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return GatewayAnswer(answer.status, names, json.loads(text))

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunningGateway(ServerProcess):
    """A running gateway. Its certificate is in files of `folder`, unless it has its own CA in a Secret.

    `audit` holds the lines of its standard output.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", api: ApiServer, entra: Authority, folder: Path) -> None:
        super().__init__(process)
        self.api = api
        self.entra = entra
        self.folder = folder
        self.audit: list[dict[str, Any]] = []
        self._read(process.stdout, self.audit)

    @property
    def callers(self) -> Callers:
        """The service accounts, pods and grants of the cluster."""
        return self.api.world.callers

    @property
    def ca(self) -> bytes:
        """The CA that clients must trust."""
        return (self.folder / "ca.crt").read_bytes()

    def connect(self, context: ssl.SSLContext | None = None) -> GatewayConnection:
        """Connect as a client that trusts the gateway's CA."""
        return GatewayConnection(self.port, context or self.trusting())

    def trusting(self) -> ssl.SSLContext:
        """Return a client's TLS context."""
        context = ssl.create_default_context(cadata=self.ca.decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def post(self, body: bytes, path: str = PATH, method: str = "POST", **headers: str) -> GatewayAnswer:
        """Send one request on a connection of its own."""
        with self.connect() as connection:
            return connection.post(body, path, method, **headers)


def write_certificate(folder: Path) -> None:
    """Write a new CA and a certificate of it, as cert-manager's volumes have them."""
    certificate = server_certificate(SERVICE)
    for name, content in (("tls.key", certificate.key.reveal().encode()), ("tls.crt", certificate.chain)):
        temporary = folder / f"{name}.new"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
    (folder / "ca.crt").write_bytes(certificate.ca)


def own_token() -> str:
    """Return a token of the gateway itself."""
    return jwt(iss=ISSUER, sub=SUBJECT, aud=["api://AzureADTokenExchange"], exp=int(time.time()) + 3600)


@contextlib.contextmanager
def gateway(
    api: ApiServer, entra: Authority, folder: Path, *flags: str, wrapper: tuple[str, ...] = (), **environ: str
) -> Iterator[RunningGateway]:
    """Run a gateway; it need not be ready yet. Without the flag --certificate-secret, its certificate is in files."""
    kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
    (folder / "azure-identity-token").write_text(own_token())
    command = [*wrapper, *COMMAND, "--kubeconfig", str(kubeconfig), "--authority-ca", str(entra.ca_file), *flags]
    if "--certificate-secret" not in flags:
        write_certificate(folder)
        command += ["--certificate-dir", str(folder)]
    variables = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_AUTHORITY_HOST": entra.url,
        "AZURE_FEDERATED_TOKEN_FILE": str(folder / "azure-identity-token"),
        **environ,
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env={**os.environ, **variables}) as process:
        running = RunningGateway(process, api, entra, folder)
        try:
            yield running
        finally:
            running.kill()


@contextlib.contextmanager
def surroundings(folder: Path, behaviour: Behaviour = grants) -> Iterator[tuple[ApiServer, Authority]]:
    """Run an API server and an Entra for a gateway."""
    api = ApiServer()
    api.start()
    try:
        with Authority(folder, behaviour) as entra:
            yield api, entra
    finally:
        api.stop()
