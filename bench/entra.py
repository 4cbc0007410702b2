"""A local Entra to measure: a state of so many identities, served by its own process, and token requests for it."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS
from wisp_local.cloud.seed import Credential, Identity, Issuer, Seed, SeedFile, apply_seed
from wisp_local.cloud.state.store import Store

BASE = "https://bench.invalid"
"""The issuer's base URL, whatever port the cloud gets."""
_OWN = Issuer("bench")
_AUDIENCE = "api://AzureADTokenExchange"


@dataclass(frozen=True)
class Entra:
    """A local Entra that listens on 127.0.0.1:`port`; clients trust `ca_file`."""

    pid: int
    port: int
    ca_file: str


@dataclass(frozen=True)
class Requests:
    """Token requests: a path, and bodies each for another identity and federated credential."""

    path: str
    bodies: Sequence[str]


def fill(state: Path, identities: int) -> float:
    """Make so many identities with 20 federated credentials each; return how many seconds that took."""
    seed = Seed(issuers=(_OWN,), identities=tuple(_identity(number) for number in range(identities)))
    begun = time.perf_counter()
    with Store(state) as store:
        apply_seed(SeedFile(seed), store, BASE)
    return time.perf_counter() - begun


def _identity(number: int) -> Identity:
    credentials = tuple(
        Credential(f"pod-{each:02}", _OWN.name, _account(number, each).subject, _AUDIENCE)
        for each in range(MAXIMUM_FEDERATED_CREDENTIALS)
    )
    return Identity(f"app-{number:05}", f"group-{number % 100:02}", federated_credentials=credentials)


def _account(number: int, credential: int) -> Projection:
    return Projection(f"namespace-{number:05}", f"app-{credential:02}", lifetime=24 * 60 * 60)


def requests(state: Path, count: int) -> Requests:
    """Write `count` token requests, for identities and federated credentials of `state` taken at random."""
    chance = random.Random(6)  # noqa: S311 -- which identities are asked for is no secret
    with Store(state) as store:
        identities, issuer = store.identities(), store.issuers.named(_OWN.name)
        path = f"/{store.tenant().id}/oauth2/v2.0/token"
        bodies = []
        for _ in range(count):
            identity = chance.choice(identities)
            account = _account(int(identity.name.removeprefix("app-")), chance.randrange(MAXIMUM_FEDERATED_CREDENTIALS))
            assertion = service_account_token(issuer, BASE + issuer.path, account, now=time.time())
            bodies.append(_body(identity.client_id, assertion.reveal()))
    return Requests(path, bodies)


def _body(client_id: str, assertion: str) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": "https://vault.azure.net/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    return urlencode(form)


@contextmanager
def serving(state: Path) -> Iterator[Entra]:
    """Serve `state` until the block ends."""
    listen = ("--state", str(state), "--port", "0", "--issuer-base", BASE, "--quiet")
    with subprocess.Popen([sys.executable, "-m", "wisp", "cloud", "serve", *listen], stdout=subprocess.PIPE) as cloud:
        try:
            said = json.loads(cloud.stdout.readline() if cloud.stdout else "{}")
            yield Entra(cloud.pid, int(said["url"].rpartition(":")[2]), said["ca_file"])
        finally:
            cloud.send_signal(signal.SIGTERM)
            cloud.wait(120)
