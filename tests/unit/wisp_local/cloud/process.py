"""A local cloud as its users run it: `wisp cloud serve` in a process of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import urllib3

from tests.support.waiting import PATIENCE
from tests.unit.wisp_local.cloud.asgi import FORM
from tests.unit.wisp_local.cloud.small_azure import ARM, PROJECTION, SUBJECT
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import Application
from wisp_local.cloud.entra.request import ASSERTION_TYPE
from wisp_local.cloud.issuer import service_account_token
from wisp_local.cloud.state.store import Store

WISP = (sys.executable, "-m", "wisp", "cloud")


@dataclass(frozen=True)
class Running:
    """A listening cloud, by what it said when it began to listen."""

    process: subprocess.Popen[str]
    state: Path
    url: str
    ca_file: str

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def running(state: Path, *arguments: str, port: int = 0, wrapper: tuple[str, ...] = ()) -> Generator[Running]:
    """Run the cloud in `state` until the block ends."""
    command = (*wrapper, *WISP, "serve", "--state", str(state), "--port", str(port), "--quiet", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            event = json.loads(process.stdout.readline())
            assert event["event"] == "listening"
            assert event["authority_host"] == f"{event['url']}/"
            yield Running(process, state, event["url"], event["ca_file"])
        finally:
            process.kill()


@dataclass(frozen=True)
class Workload:
    """An identity, the tenant it is in and an assertion that it accepts."""

    tenant: str
    client_id: str
    assertion: str

    def form(self) -> bytes:
        """Return the body of its token request."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "scope": f"{ARM}/.default",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion,
        }
        return urlencode(form).encode()


def workload(state: Path, url: str) -> Workload:
    """Make the walk-through's identity beside a running server, on the same file, and mint an assertion for it."""
    with Store(state) as store:
        store.put_resource_group("WorkloadIdentityRG", "eastus")
        identity = store.put_identity("WorkloadIdentityRG", "wi-demo-identity", "eastus")
        issuer = store.issuers.put("wilab")
        issuer_url = url + issuer.path
        store.put_federated_credential(identity, "wi-demo-federated-id", issuer=issuer_url, subject=SUBJECT)
        assertion = service_account_token(issuer, issuer_url, PROJECTION, now=store.clock()).reveal()
        return Workload(identity.tenant_id, identity.client_id, assertion)


def exchange(cloud: Running, asks: Workload, *, port: str | None = None) -> urllib3.BaseHTTPResponse:
    """Ask for a token over TLS, trusting only the cloud's own CA."""
    with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
        url = f"{port or cloud.url}/{asks.tenant}/oauth2/v2.0/token"
        return pool.request("POST", url, body=asks.form(), headers={"Content-Type": FORM})


def exchange_secret(cloud: Running, application: Application, secret: Secret) -> Secret:
    """Return an application's token for Resource Manager."""
    form = {
        "grant_type": "client_credentials",
        "client_id": application.client_id,
        "scope": f"{ARM}/.default",
        "client_secret": secret.reveal(),
    }
    with urllib3.PoolManager(ca_certs=cloud.ca_file) as pool:
        url = f"{cloud.url}/{application.tenant_id}/oauth2/v2.0/token"
        answer = pool.request("POST", url, body=urlencode(form).encode(), headers={"Content-Type": FORM})
    return Secret(str(answer.json()["access_token"]))
