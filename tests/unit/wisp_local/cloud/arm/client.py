"""A client of the local Resource Manager, like an SDK: it sends a token, an api-version and JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.wisp_local.cloud.asgi import Answer
from tests.unit.wisp_local.cloud.small_azure import BASE_URL, SmallAzure
from wisp_local.cloud.entra.claims import Issue, access_token_claims
from wisp_local.cloud.entra.directory import Application

VERSION = "2024-11-01"
IDENTITIES = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
CLUSTERS = "providers/Microsoft.ContainerService/managedClusters"
CLUSTER: Mapping[str, Any] = {
    "location": "eastus",
    "properties": {
        "agentPoolProfiles": [{"name": "nodepool1", "count": 1, "mode": "System", "vmSize": ""}],
        "oidcIssuerProfile": {"enabled": True},
        "securityProfile": {"workloadIdentity": {"enabled": True}},
    },
}


@dataclass
class ArmClient:
    """A client that sends `fixed_token`, or a new token for every request."""

    azure: SmallAzure
    principal: Application
    fixed_token: str = field(default="", repr=False)

    @property
    def subscription(self) -> str:
        """The path of the subscription."""
        return f"/subscriptions/{self.azure.store.subscription().id}"

    @property
    def group(self) -> str:
        """The path of the walk-through's resource group."""
        return f"{self.subscription}/resourceGroups/WorkloadIdentityRG"

    @property
    def identity(self) -> str:
        """The path of the walk-through's identity."""
        return f"{self.group}/{IDENTITIES}/wi-demo-identity"

    def token(self, **changes: object) -> str:
        """Return an access token with some claims changed."""
        store = self.azure.store
        issue = Issue("https://management.core.windows.net/", int(store.clock()), 3600, bytes(32))
        claims = {**access_token_claims(store.tenant(), self.principal, issue), **changes}
        return store.issuers.token_keys()[-1].sign({}, claims).reveal()

    def ask(
        self, method: str, path: str, body: object = None, *, version: str | None = VERSION, **headers: str
    ) -> Answer:
        """Send a request; `path` may be a URL from an answer of the cloud."""
        target = path.removeprefix(BASE_URL)
        if version is not None and "api-version=" not in target:
            target += f"{'&' if '?' in target else '?'}api-version={version}"
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        authorization = headers.pop("authorization", f"Bearer {self.fixed_token or self.token()}")
        return self.azure.client.send(method, target, content, {"authorization": authorization, **headers})

    def get(self, path: str, **options: Any) -> Any:
        """Return the document of a GET that succeeds."""
        answer = self.ask("GET", path, **options)
        assert answer.status == 200, answer.body
        return answer.json()

    def federate(self, name: str, **changes: object) -> Answer:
        """PUT a federated credential with some properties changed; None takes one away."""
        properties = {
            "issuer": "https://issuer.test/",
            "subject": f"subject of {name}",
            "audiences": ["api://AzureADTokenExchange"],
            **changes,
        }
        given = {key: value for key, value in properties.items() if value is not None}
        return self.ask("PUT", f"{self.identity}/federatedIdentityCredentials/{name}", {"properties": given})

    def bind(self, name: str = "ib", *, cluster: str = "wilab", identity: object = None, **headers: str) -> Answer:
        """PUT an identity binding of a cluster, by default to the walk-through's identity."""
        properties = {"managedIdentity": {"resourceId": self.identity if identity is None else identity}}
        path = f"{self.group}/{CLUSTERS}/{cluster}/identityBindings/{name}"
        return self.ask("PUT", path, {"properties": properties}, **headers)

    def create_cluster(self, name: str = "wilab", **changes: object) -> Answer:
        """PUT a cluster with issuer and workload identity."""
        return self.ask("PUT", f"{self.group}/{CLUSTERS}/{name}", {**CLUSTER, **changes})


def error_of(answer: Answer) -> tuple[int, str]:
    """Return status and code of an error in Azure's format."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return answer.status, error["code"]
