"""The variables that the webhook sets for an application and its sidecar, from wisp's own admission code."""

import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from tests.interop.cells import Route
from wisp.admission import annotations as names
from wisp.admission.mutate import mutate
from wisp.admission.pod import SIDECAR
from wisp.admission.policy import Policy

APPLICATION = "app"
IDENTITY = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST")
"""The variables of Azure Workload Identity."""
_MODES = {Route.INTERCEPTION: "redirect", Route.ENVIRONMENT: "env"}


class Sharing(Enum):
    """Who has the variables of Azure Workload Identity, and the service account token."""

    ALL = "application and sidecar"
    SIDECAR_ONLY = "sidecar only"


class Injected(NamedTuple):
    """The variables of both containers."""

    application: Mapping[str, str]
    sidecar: Mapping[str, str]


def inject(route: Route, sharing: Sharing, port: int, identity: tuple[str, str]) -> Injected:
    """Return the variables of a pod whose sidecar listens on `port`; `identity` is a client id and a tenant id."""
    client_id, tenant_id = identity
    annotations = {
        names.INJECT_SIDECAR: "true",
        names.SIDECAR_MODE: _MODES[route],
        names.SIDECAR_PORT: str(port),
        **({names.PROXY_ONLY: "true"} if sharing is Sharing.SIDECAR_ONLY else {}),
    }
    pod = {
        "metadata": {"name": f"pod-{secrets.token_hex(4)}", "labels": {names.USE: "true"}, "annotations": annotations},
        "spec": {"containers": [{"name": APPLICATION, "image": "app"}]},
    }
    account = {"metadata": {"annotations": {names.CLIENT_ID: client_id}}}
    admitted = mutate(pod, account, Policy(tenant_id=tenant_id))
    return Injected(_variables(admitted, APPLICATION), _variables(admitted, SIDECAR))


def _variables(pod: Mapping[str, Any], name: str) -> Mapping[str, str]:
    container = next(item for item in pod["spec"]["containers"] if item["name"] == name)
    return {variable["name"]: variable["value"] for variable in container.get("env", ())}
