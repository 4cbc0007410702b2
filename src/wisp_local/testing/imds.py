"""The metadata service's token endpoint as a pod has it: the sidecar, on loopback, for one identity."""

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.base.secret import Secret
from wisp.imds.answer import endpoint_variables
from wisp.imds.request import TOKEN_PATH
from wisp.proxy.probe import probe
from wisp_local.demo.plain import reserved_port
from wisp_local.run.environment import LOOPBACK
from wisp_local.run.parts import in_memory, path_of
from wisp_local.sandbox.processes import Component
from wisp_local.testing.cloud import Cloud
from wisp_local.testing.identity import Identity
from wisp_local.testing.parts import START, here, start

_PATIENCE = 0.1  # seconds between looks at whether it still runs


@dataclass(frozen=True)
class Imds:
    """A token endpoint at `url`, which wants `header`; `environment` leads every Azure SDK to it."""

    url: str
    header: Secret
    log: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of App Service's managed identity, which hold the header: not to be printed."""
        return endpoint_variables(self.url, self.header.reveal())


@contextlib.contextmanager
def serving_imds(
    cloud: Cloud, identity: Identity, folder: Path, *, authority_host: str | None = None
) -> Iterator[Imds]:
    """Run the sidecar for `identity` until the block is left; its log is in `folder`.

    `authority_host` is where it looks for Entra if not at `cloud`: `https://127.0.0.1:1/` is an Entra out of reach.
    Raises WispError when it does not become ready.
    """
    header, log = Secret(secrets.token_urlsafe(32)), folder / "imds.log"
    with (
        reserved_port() as port,
        in_memory("assertion", cloud.assertion(identity)) as assertion,
        in_memory("ca", cloud.ca_file.read_bytes()) as ca,
    ):
        variables = {
            "AZURE_AUTHORITY_HOST": authority_host or cloud.authority_host,
            "AZURE_TENANT_ID": identity.tenant_id,
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_OBJECT_ID": identity.object_id,
            "AZURE_RESOURCE_ID": identity.resource_id,
            "AZURE_FEDERATED_TOKEN_FILE": path_of(assertion),
            "IDENTITY_HEADER": header.reveal(),
        }
        place = here().having(variables).handing(assertion, ca)
        # A test that mends what it broke goes on at once.
        flags = ("--proxy-port", str(port), "--authority-ca", path_of(ca), "--refusal-hold", "0")
        with start("the sidecar", place, log, "wisp.proxy", *flags) as sidecar:
            _wait_for(sidecar, port)
            yield Imds(f"http://{LOOPBACK}:{port}{TOKEN_PATH}", header, log)


def _wait_for(sidecar: Component, port: int) -> None:
    end = time.monotonic() + START
    while not sidecar.has_ended() and time.monotonic() < end:
        if probe(port, _PATIENCE) is None and not sidecar.has_ended():
            return
    raise sidecar.failure("did not become ready")
