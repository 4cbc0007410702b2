"""What the sidecars exchange tokens with: a local cloud, filled, and a stand-in for what it does not do."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.interop.cells import Sidecar
from wisp.cloud.directory import ManagedIdentity
from wisp.cloud.issuer import Projection, service_account_token
from wisp.cloud.local import Settings
from wisp.cloud.store import Store
from wisp.lab.processes import Component, Place, beside

_STAND_IN = Path(__file__).with_name("stand_in.py")
_START = 30  # seconds
_POD = Projection("default", "app", lifetime=24 * 3600)


@dataclass(frozen=True)
class Authority:
    """A running authority. The sidecars' service account can be `default` and `other`, and not `stranger`."""

    url: str
    ca_file: Path
    stand_in: str
    """Its https URL; also that of a Resource Manager."""
    token_file: Path
    default: ManagedIdentity
    other: ManagedIdentity
    stranger: ManagedIdentity

    def environment(self, sidecar: Sidecar) -> Mapping[str, str]:
        """Return what the webhook would tell the sidecar, and no more."""
        host = {
            Sidecar.THROTTLED: f"{self.stand_in}/throttled/",
            Sidecar.UNAVAILABLE: f"{self.stand_in}/unavailable/",
        }.get(sidecar, self.url)
        told = {
            "AZURE_AUTHORITY_HOST": host,
            "AZURE_TENANT_ID": self.default.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(self.token_file),
        }
        if sidecar is Sidecar.NO_DEFAULT:
            return told
        identity = self.stranger if sidecar is Sidecar.NOT_FEDERATED else self.default
        return {**told, "AZURE_CLIENT_ID": identity.client_id}


@contextlib.contextmanager
def running(place: Place, host: str, folder: Path) -> Iterator[Authority]:
    """Run an authority at `place`, listening on `host`, with its files in `folder`."""
    state = folder / "cloud.db"
    wisp = (sys.executable, "-m", "wisp")
    arguments = ("--state", str(state), "--host", host, "--port", "0", "--quiet")
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(
            beside("the cloud", place, folder / "cloud.log", *wisp, "cloud", "serve", *arguments)
        )
        listening = _first_line(cloud)
        certificate = _write_certificate(Settings(state, (host,)), folder)
        command = (sys.executable, str(_STAND_IN), host, *map(str, certificate))
        stand_in = stack.enter_context(beside("the stand-in", place, folder / "stand_in.log", *command))
        yield _fill(state, folder, listening, _first_line(stand_in)["url"])


def _first_line(component: Component) -> Mapping[str, str]:
    document: dict[str, str] = json.loads(component.first_line(_START))
    return document


def _write_certificate(settings: Settings, folder: Path) -> tuple[Path, Path]:
    """Write the cloud's certificate and key for the stand-in, too."""
    with Store(settings.state) as store:
        certified = store.authority.server_certificate(settings.names)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(certified.certificate_pem)
    _write_private(key, certified.key_pem)
    return certificate, key


def _fill(state: Path, folder: Path, listening: Mapping[str, str], stand_in: str) -> Authority:
    """Make a cluster's issuer, three identities, and the token of a pod that two of them trust."""
    token_file = folder / "token"
    with Store(state) as store:
        store.put_resource_group("interop", "eastus")
        issuer = store.put_issuer("interop")
        issuer_url = listening["url"] + issuer.path

        def identity(name: str, subject: str) -> ManagedIdentity:
            made = store.put_identity("interop", name, "eastus")
            store.put_federated_credential(made, "pod", issuer=issuer_url, subject=subject)
            return made

        minted = service_account_token(issuer, issuer_url, _POD, now=store.clock())
        _write_private(token_file, minted.reveal().encode())
        return Authority(
            url=listening["url"],
            ca_file=Path(listening["ca_file"]),
            stand_in=stand_in,
            token_file=token_file,
            default=identity("default", _POD.subject),
            other=identity("other", _POD.subject),
            stranger=identity("stranger", "system:serviceaccount:default:somebody-else"),
        )


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
