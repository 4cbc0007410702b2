"""The authority of the sidecars: a local cloud with identities, and services that it does not have."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from tests.interop.cells import Sidecar
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.serving import Settings
from wisp_local.cloud.state.store import Store
from wisp_local.sandbox.processes import Component, ProcessContext, running_component

ENTRA = "login.microsoftonline.com"
RESOURCE_MANAGER = "management.azure.com"
_SERVICES, _TUNNEL = (Path(__file__).with_name(f"{name}.py") for name in ("services", "tunnel"))
_START = 30  # seconds
_POD = Projection("default", "app", lifetime=24 * 3600)


@dataclass(frozen=True)
class Authority:
    """A running authority. The sidecars' service account may act as `default` and `other`, but not as `stranger`."""

    state: Path
    url: str
    ca_file: Path
    services: str
    """The https URL of tests/interop/services.py: services that accept its tokens, and an Entra that always fails."""
    tunnel: str
    """The URL of an HTTP proxy; through it, the cloud is login.microsoftonline.com, `services` management.azure.com."""
    trust_store: Path
    """The CA of `ca_file`, for Java."""
    token_file: Path
    default: ManagedIdentity
    other: ManagedIdentity
    stranger: ManagedIdentity

    def environment(self, sidecar: Sidecar) -> Mapping[str, str]:
        """Return the variables that the webhook would set for the sidecar."""
        host = {
            Sidecar.THROTTLED: f"{self.services}/throttled/",
            Sidecar.UNAVAILABLE: f"{self.services}/unavailable/",
        }.get(sidecar, self.url)
        variables = {
            "AZURE_AUTHORITY_HOST": host,
            "AZURE_TENANT_ID": self.default.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(self.token_file),
        }
        if sidecar is Sidecar.NO_DEFAULT:
            return variables
        identity = self.stranger if sidecar is Sidecar.NOT_FEDERATED else self.default
        return {**variables, "AZURE_CLIENT_ID": identity.client_id}


@contextlib.contextmanager
def running_authority(place: ProcessContext, host: str, folder: Path) -> Iterator[Authority]:
    """Run an authority in `place` that listens on `host`, with its files in `folder`."""
    state = folder / "cloud.db"
    wisp = (sys.executable, "-m", "wisp")
    arguments = ("--state", str(state), "--host", host, "--port", "0", "--quiet")
    names = ("--advertise", host, "--advertise", ENTRA, "--advertise", RESOURCE_MANAGER)
    issuer = ("--issuer-base", f"https://{ENTRA}")
    with contextlib.ExitStack() as stack:

        def start(name: str, *command: str) -> Mapping[str, str]:
            log = folder / f"{name.replace(' ', '_')}.log"
            return _first_line(stack.enter_context(running_component(f"the {name}", place, log, *command)))

        listening = start("cloud", *wisp, "cloud", "serve", *arguments, *names, *issuer)
        certificate = _write_certificate(Settings(state, (host, RESOURCE_MANAGER)), folder)
        services = start("services", sys.executable, str(_SERVICES), host, *map(str, certificate))["url"]
        targets = {ENTRA: listening["url"], RESOURCE_MANAGER: services}
        tunnel = stack.enter_context(running_tunnel(place, host, targets, folder))
        # Java asks access(2) first, which counts no capability: the folder has to be open to the clients' user.
        public = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        public.chmod(0o755)
        trust_store = _write_trust_store(Path(listening["ca_file"]), public)
        urls = {"services": services, "tunnel": tunnel}
        yield _fill(state, folder, listening, urls, trust_store)


@contextlib.contextmanager
def running_tunnel(place: ProcessContext, host: str, targets: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run an HTTP proxy on `host` through which the https URLs in `targets` have other names; give its URL."""
    given = (f"{name}={url.removeprefix('https://')}" for name, url in targets.items())
    log = folder / f"tunnel-{'-'.join(targets)}.log"
    with running_component("the tunnel", place, log, sys.executable, str(_TUNNEL), host, *given) as component:
        yield _first_line(component)["url"]


def _first_line(component: Component) -> Mapping[str, str]:
    document: dict[str, str] = json.loads(component.first_line(_START))
    return document


def _write_certificate(settings: Settings, folder: Path) -> tuple[Path, Path]:
    """Write a certificate and key of the cloud's CA for the services."""
    with Store(settings.state) as store:
        certified = store.authority.server_certificate(settings.names)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(certified.certificate_pem)
    _write_private(key, certified.key_pem)
    return certificate, key


def _fill(
    state: Path, folder: Path, listening: Mapping[str, str], urls: Mapping[str, str], trust_store: Path
) -> Authority:
    """Create a cluster's issuer, three identities, and the token of a pod that two of them trust."""
    token_file = folder / "token"
    with Store(state) as store:
        store.put_resource_group("interop", "eastus")
        issuer = store.issuers.put("interop")
        issuer_url = listening["url"] + issuer.path

        def identity(name: str, subject: str) -> ManagedIdentity:
            made = store.put_identity("interop", name, "eastus")
            store.put_federated_credential(made, "pod", issuer=issuer_url, subject=subject)
            return made

        minted = service_account_token(issuer, issuer_url, _POD, now=store.clock())
        _write_private(token_file, minted.reveal().encode())
        return Authority(
            state=state,
            url=listening["url"],
            ca_file=Path(listening["ca_file"]),
            **urls,
            trust_store=trust_store,
            token_file=token_file,
            default=identity("default", _POD.subject),
            other=identity("other", _POD.subject),
            stranger=identity("stranger", "system:serviceaccount:default:somebody-else"),
        )


def _write_trust_store(ca_file: Path, folder: Path) -> Path:
    """Write the certificate in Java's format (PKCS #12)."""
    certificate = pkcs12.PKCS12Certificate(load_pem_x509_certificate(ca_file.read_bytes()), b"cloud")
    path = folder / "trust.p12"
    path.write_bytes(pkcs12.serialize_java_truststore([certificate], NoEncryption()))
    return path


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
