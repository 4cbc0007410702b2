"""A running local cloud: where it is, whom clients must trust, and what can be made in it."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.testing.identity import CREDENTIAL, LOCATION, Identity
from wisp_local.testing.parts import START, here, start

_CLUSTER = "wisp-testing"
_GROUP = "wisp-testing"


@dataclass(frozen=True)
class Cluster:
    """A cluster as Entra knows it: the issuer of its service account tokens, served by the cloud itself."""

    name: str
    issuer_url: str
    state: Path = field(repr=False)

    def service_account_token(self, account: Projection) -> Secret:
        """Mint what kubelet would project; raises WispError for a lifetime of less than ten minutes."""
        with Store(self.state) as store:
            return service_account_token(store.issuers.named(self.name), self.issuer_url, account, now=time.time())


@dataclass(frozen=True)
class Cloud:
    """A local cloud that listens at `url`; clients trust `ca_file` (PEM), and `state` is what it keeps."""

    url: str
    ca_file: Path
    tenant_id: str
    state: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def authority_host(self) -> str:
        """What AZURE_AUTHORITY_HOST is set to."""
        return f"{self.url}/"

    def cluster(self, name: str = _CLUSTER) -> Cluster:
        """Return the cluster of that name, made when new."""
        with Store(self.state) as store:
            return Cluster(name, self.url + store.issuers.put(name).path, self.state)

    def identity(self, name: str | None = None, *, group: str = _GROUP, account: Projection | None = None) -> Identity:
        """Return the identity of that name, made when new, and trusting the service account `account` of `cluster()`.

        Without a name it is a new one.
        """
        name = name or f"identity-{next(self._numbers)}"
        account = account or Projection("default", name)
        issuer_url = self.cluster().issuer_url
        with Store(self.state) as store:
            store.put_resource_group(group, LOCATION)
            made = store.put_identity(group, name, LOCATION)
            store.put_federated_credential(made, CREDENTIAL, issuer=issuer_url, subject=account.subject)
        return Identity(
            name=made.name,
            group=made.resource_group,
            tenant_id=made.tenant_id,
            client_id=made.client_id,
            object_id=made.principal_id,
            resource_id=made.resource_id,
            issuer_url=issuer_url,
            account=account,
            state=self.state,
        )

    def federate(self, identity: Identity, name: str, *, issuer: str, subject: str) -> FederatedCredential:
        """Make or replace a further federated credential of `identity`, for the audience that Azure recommends.

        Raises WispError for what Azure does not allow.
        """
        with Store(self.state) as store:
            found = store.identity(identity.group, identity.name)
            return store.put_federated_credential(
                found, name, issuer=issuer, subject=subject, audiences=(DEFAULT_AUDIENCE,)
            )

    def register(self, resource: str) -> None:
        """Register a resource of the tenant's own (`api://my-api`), for tokens to be asked for; Azure's are known."""
        with Store(self.state) as store:
            store.put_resource(resource)

    def assertion(self, identity: Identity) -> Secret:
        """Mint a service account token that `identity` trusts, for an hour."""
        return self.cluster().service_account_token(identity.account)


@contextlib.contextmanager
def running_cloud(folder: Path, *flags: str) -> Iterator[Cloud]:
    """Run a local cloud in a process of its own, with its state in `folder`, until the block is left.

    `flags` are those of `wisp cloud serve`. Raises WispError when it does not start.
    """
    state = folder / "cloud.db"
    command = ("wisp", "cloud", "serve", "--state", str(state), "--port", "0", *flags)
    with start("the local cloud", here(), folder / "cloud.log", *command) as serving:
        with Store(state) as store:  # while it starts: what takes time is making keys
            store.issuers.put(_CLUSTER)
            said = json.loads(serving.first_line(START))
            tenant = store.tenant()  # now that the seed has said which one
        yield Cloud(said["url"], Path(said["ca_file"]), tenant.id, state)
