"""The identity of a run in the local cloud, and an assertion that the cloud accepts.

The issuer's URL belongs to no server. Each run has a cloud of its own on a port of its own, but the issuer, and so the
federated credential, is always the same: any number of runs can share a state file.
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
from wisp_local.run.options import DAY, GROUP, ISSUER_BASE, LOCATION, LocalCloud

_NAME = "wisp-run"
PROJECTION = Projection(_NAME, _NAME, _NAME, lifetime=DAY)
"""The service account of the command. Entra accepts no assertion that is valid for more than 25 hours."""
RENEW_AFTER = DAY / 2
"""Seconds after which the assertion is issued again: there is no kubelet, and the command may run for days."""


@dataclass(frozen=True)
class Federated:
    """An identity, the assertion that is exchanged for its tokens, and the certificate of the cloud's CA (PEM)."""

    identity: ManagedIdentity
    assertion: Secret
    ca: bytes


def federate(state: Path, authority: LocalCloud) -> Federated:
    """Create in `state` what does not exist yet. Raise WispError if there can be no such identity."""
    with Store(state) as store:
        identity = _identity(store, authority)
        url = ISSUER_BASE + store.issuers.put(_NAME).path
        store.put_federated_credential(identity, _NAME, issuer=url, subject=PROJECTION.subject)
        return Federated(identity, _assertion(store), store.authority.certificate_pem)


def new_assertion(state: Path) -> Secret:
    """Issue another assertion, after `federate`. Raise WispError."""
    with Store(state) as store:
        return _assertion(store)


def _assertion(store: Store) -> Secret:
    issuer = store.issuers.put(_NAME)
    return service_account_token(issuer, ISSUER_BASE + issuer.path, PROJECTION, now=time.time())


def _identity(store: Store, authority: LocalCloud) -> ManagedIdentity:
    if authority.client_id is None:
        store.put_resource_group(GROUP, LOCATION)
        return store.put_identity(GROUP, authority.identity, LOCATION)
    found = store.identity_of_client(authority.client_id)
    if found is None:
        path = shlex.quote(str(store.path))
        problem = f"no identity in {store.path} has the client id {authority.client_id}"
        raise NotFoundError(problem, hint=f"wisp cloud identity list --state={path} lists them")
    return found
