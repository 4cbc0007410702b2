"""The local cloud's side of a run: an identity, and an assertion that it accepts.

The issuer goes by a URL that no server has: each run has a cloud of its own, on a port of its own, and to every one of
them the issuer, and so the federated credential, is the same. That is why any number of runs can share a state file.
"""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.errors import NotFoundError
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.state.store import Store
from wisp_local.run.wanted import GROUP, ISSUER_BASE, LOCATION, LocalCloud

_NAME = "wisp-run"
_DAY = 24 * 60 * 60
PROJECTION = Projection(_NAME, _NAME, _NAME, lifetime=_DAY)
"""Who the command is. Entra takes no assertion that is valid for more than 25 hours."""
RENEW_AFTER = _DAY / 2
"""Seconds after which the assertion is minted again: no kubelet does it, and the command may run for days."""


@dataclass(frozen=True)
class Federated:
    """An identity, the assertion that is exchanged for its tokens, and the certificate of the cloud's CA (PEM)."""

    identity: ManagedIdentity
    assertion: Secret
    ca: bytes


def federate(state: Path, wanted: LocalCloud) -> Federated:
    """Make in `state` what is not there yet; raises WispError for an identity that there cannot be."""
    with Store(state) as store:
        identity = _identity(store, wanted)
        url = ISSUER_BASE + store.issuers.put(_NAME).path
        store.put_federated_credential(identity, _NAME, issuer=url, subject=PROJECTION.subject)
        return Federated(identity, _assertion(store), store.authority.certificate_pem)


def new_assertion(state: Path) -> Secret:
    """Mint another assertion of the command that `federate` made `state` ready for; raises WispError."""
    with Store(state) as store:
        return _assertion(store)


def _assertion(store: Store) -> Secret:
    issuer = store.issuers.put(_NAME)
    return service_account_token(issuer, ISSUER_BASE + issuer.path, PROJECTION, now=time.time())


def _identity(store: Store, wanted: LocalCloud) -> ManagedIdentity:
    if wanted.client_id is None:
        store.put_resource_group(GROUP, LOCATION)
        return store.put_identity(GROUP, wanted.identity, LOCATION)
    found = store.identity_of_client(wanted.client_id)
    if found is None:
        path = shlex.quote(str(store.path))
        problem = f"no identity in {store.path} has the client id {wanted.client_id}"
        raise NotFoundError(problem, hint=f"wisp cloud identity list --state={path} lists them")
    return found
