"""A local cloud, its identities, and the metadata service of an identity, as processes that end with the test run."""

import contextlib
import itertools
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import wisp
from wisp.base.secret import Secret
from wisp.imds.answer import endpoint_variables
from wisp.imds.request import TOKEN_PATH
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential, ManagedIdentity
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.run.environment import LOOPBACK
from wisp_local.sandbox.processes import (
    Component,
    ComponentError,
    ProcessContext,
    base_environment,
    running_component,
    tied,
)
from wisp_local.sandbox.sidecar import descriptor_path, memory_file, reserved_port, wait_until_ready

_START = 30.0  # seconds to start: a machine that runs tests may be busy
_CLUSTER = "wisp-testing"
_GROUP = "wisp-testing"
_CREDENTIAL = "wisp-testing"
_LOCATION = "eastus"


@dataclass(frozen=True)
class Identity:
    """A user-assigned managed identity that trusts the service account `account` of the issuer at `issuer_url`.

    Entra reports its faults for the next token that was not requested before: tokens that were issued stay valid.
    """

    name: str
    group: str
    tenant_id: str
    client_id: str
    object_id: str
    resource_id: str
    issuer_url: str
    account: Projection
    state: Path = field(repr=False)

    def misspell_subject(self) -> None:
        """Make the subject of the federated credential differ by one letter: AADSTS700213."""
        self._federate(self.issuer_url, f"{self.account.subject}x")

    def misspell_issuer(self) -> None:
        """Remove the trailing slash of the federated credential's issuer: AADSTS700211."""
        self._federate(self.issuer_url.rstrip("/"), self.account.subject)

    def forget_credential(self) -> None:
        """Delete the federated credential, the only one unless more were added: AADSTS70025."""
        with Store(self.state) as store:
            store.delete_federated_credential(self._in(store), _CREDENTIAL)

    def delete(self) -> None:
        """Delete the identity and all its federated credentials: AADSTS700016."""
        with Store(self.state) as store:
            store.delete_identity(self._in(store))

    def repair(self) -> None:
        """Undo every fault: the identity exists with its ids, and trusts its service account."""
        self._federate(self.issuer_url, self.account.subject)

    def _federate(self, issuer: str, subject: str) -> None:
        with Store(self.state) as store:
            store.put_federated_credential(self._in(store), _CREDENTIAL, issuer=issuer, subject=subject)

    def _in(self, store: Store) -> ManagedIdentity:
        store.put_resource_group(self.group, _LOCATION)
        return store.put_identity(self.group, self.name, _LOCATION, ids=(self.client_id, self.object_id))


@dataclass(frozen=True)
class Cluster:
    """A cluster as Entra knows it: the issuer of its service account tokens, served by the cloud itself."""

    name: str
    issuer_url: str
    state: Path = field(repr=False)

    def service_account_token(self, account: Projection) -> Secret:
        """Issue a token as kubelet would project it. Raise WispError for a lifetime of less than ten minutes."""
        with Store(self.state) as store:
            return service_account_token(store.issuers.named(self.name), self.issuer_url, account, now=time.time())


@dataclass(frozen=True)
class Cloud:
    """A local cloud that listens at `url`. Clients trust `ca_file` (PEM); `state` is its state file."""

    url: str
    ca_file: Path
    tenant_id: str
    state: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def authority_host(self) -> str:
        """The value of AZURE_AUTHORITY_HOST."""
        return f"{self.url}/"

    def cluster(self, name: str = _CLUSTER) -> Cluster:
        """Return the cluster of that name, created if new."""
        with Store(self.state) as store:
            return Cluster(name, self.url + store.issuers.put(name).path, self.state)

    def identity(self, name: str | None = None, *, group: str = _GROUP, account: Projection | None = None) -> Identity:
        """Return the identity of that name, created if new, which trusts the service account `account` of `cluster()`.

        Without a name it is a new one.
        """
        name = name or f"identity-{next(self._numbers)}"
        account = account or Projection("default", name)
        issuer_url = self.cluster().issuer_url
        with Store(self.state) as store:
            store.put_resource_group(group, _LOCATION)
            identity = store.put_identity(group, name, _LOCATION)
            store.put_federated_credential(identity, _CREDENTIAL, issuer=issuer_url, subject=account.subject)
        return Identity(
            name=identity.name,
            group=identity.resource_group,
            tenant_id=identity.tenant_id,
            client_id=identity.client_id,
            object_id=identity.principal_id,
            resource_id=identity.resource_id,
            issuer_url=issuer_url,
            account=account,
            state=self.state,
        )

    def federate(self, identity: Identity, name: str, *, issuer: str, subject: str) -> FederatedCredential:
        """Create or replace a further federated credential of `identity`, with the audience that Azure recommends.

        Raise WispError for values that Azure rejects.
        """
        with Store(self.state) as store:
            found = store.identity(identity.group, identity.name)
            return store.put_federated_credential(
                found, name, issuer=issuer, subject=subject, audiences=(DEFAULT_AUDIENCE,)
            )

    def register(self, resource: str) -> None:
        """Register a resource of the tenant (`api://my-api`), so that tokens for it are issued. Azure's are known."""
        with Store(self.state) as store:
            store.put_resource(resource)

    def assertion(self, identity: Identity) -> Secret:
        """Issue a service account token that `identity` trusts, valid for an hour."""
        return self.cluster().service_account_token(identity.account)


@contextlib.contextmanager
def running_cloud(folder: Path, *flags: str) -> Iterator[Cloud]:
    """Run a local cloud with its state in `folder` until the block is left.

    `flags` are those of `wisp cloud serve`. Raise WispError if it does not start.
    """
    state = folder / "cloud.db"
    command = ("wisp", "cloud", "serve", "--state", str(state), "--port", "0", *flags)
    with _running("the local cloud", _context(), folder / "cloud.log", *command) as component:
        with Store(state) as store:  # creating keys takes long: do it while the cloud starts
            store.issuers.put(_CLUSTER)
            listening = json.loads(component.first_line(_START))
            tenant = store.tenant()  # the seed, which has been read now, may name it
        yield Cloud(listening["url"], Path(listening["ca_file"]), tenant.id, state)


@dataclass(frozen=True)
class Imds:
    """A token endpoint at `url`, whose clients must send `header`."""

    url: str
    header: Secret
    log: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of App Service, by which Azure SDKs find it. They contain the header: do not print them."""
        return endpoint_variables(self.url, self.header.reveal())


@contextlib.contextmanager
def serving_imds(
    cloud: Cloud, identity: Identity, folder: Path, *, authority_host: str | None = None
) -> Iterator[Imds]:
    """Run the sidecar for `identity` on loopback until the block is left; its log is in `folder`.

    `authority_host` is the URL of Entra if not `cloud`: `https://127.0.0.1:1/` is an Entra that cannot be reached.
    Raise WispError if it does not become ready.
    """
    header, log = Secret(secrets.token_urlsafe(32)), folder / "imds.log"
    with (
        reserved_port() as port,
        memory_file("assertion", cloud.assertion(identity)) as assertion,
        memory_file("ca", cloud.ca_file.read_bytes()) as ca,
    ):
        variables = {
            "AZURE_AUTHORITY_HOST": authority_host or cloud.authority_host,
            "AZURE_TENANT_ID": identity.tenant_id,
            "AZURE_CLIENT_ID": identity.client_id,
            "AZURE_OBJECT_ID": identity.object_id,
            "AZURE_RESOURCE_ID": identity.resource_id,
            "AZURE_FEDERATED_TOKEN_FILE": descriptor_path(assertion),
            "IDENTITY_HEADER": header.reveal(),
        }
        context = _context().with_variables(variables).with_descriptors(assertion, ca)
        # A test that repairs an identity expects a token at once.
        flags = ("--proxy-port", str(port), "--authority-ca", descriptor_path(ca), "--refusal-hold", "0")
        with _running("the sidecar", context, log, "wisp.proxy", *flags) as sidecar:
            wait_until_ready(sidecar, port, timeout=_START)
            yield Imds(f"http://{LOOPBACK}:{port}{TOKEN_PATH}", header, log)


def _context() -> ProcessContext:
    """Return the context of programs; of the environment they get what finds programs and packages."""
    own = str(Path(wisp.__file__).parents[1])
    paths = [path for path in (os.environ.get("PYTHONPATH"), own) if path]
    return ProcessContext((), {**base_environment(os.environ), "PYTHONPATH": os.pathsep.join(paths)})


@contextlib.contextmanager
def _running(name: str, context: ProcessContext, log: Path, *module: str) -> Iterator[Component]:
    """Run a Python module until the block is left or this process ends. pytest shows its log if it fails."""
    with running_component(name, context, log, *tied(*module)) as component:
        try:
            yield component
        except ComponentError as error:
            for line in error.log:
                error.add_note(line)
            raise
