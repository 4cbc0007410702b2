"""A managed cluster, its identity bindings, and the API server attached to it, as values.

What a cluster or a binding is doing ends by the clock alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

ANY = "*"  # in an attachment: every cluster that has none of its own
GATEWAY_SUBJECT = "system:serviceaccount:wisp-system:wisp-gateway"  # of `wisp gateway`, as the chart installs it


class Activity(Enum):
    """What a cluster or a binding is doing, as provisioningState names it."""

    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"


@dataclass(frozen=True)
class ManagedCluster:
    """A cluster: `requested` is what its owner asked for, `activity` lasts until `until` (Unix seconds).

    `issuer` is the name of the issuer that this cloud runs for it, empty while it has none.
    """

    subscription_id: str
    resource_group: str
    name: str
    location: str
    requested: Mapping[str, object] = field(hash=False)
    issuer: str
    principal_id: str
    kubelet_client_id: str
    kubelet_object_id: str
    activity: Activity
    until: float

    @property
    def resource_id(self) -> str:
        """The id as Azure writes it, `resourcegroups` in lower case."""
        group = f"/subscriptions/{self.subscription_id}/resourcegroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.ContainerService/managedClusters/{self.name}"

    def provisioning_state(self, now: float) -> str:
        """Return Creating, Updating, Deleting or Succeeded."""
        return self.activity.value if now < self.until else "Succeeded"


@dataclass(frozen=True)
class IdentityBinding:
    """The binding called `name` of the cluster `cluster` to the managed identity `identity_id` (a resource id).

    `issuer_url` is the issuer that the identity's federated credential for this cluster trusts. `activity` lasts until
    `until` (Unix seconds).
    """

    subscription_id: str
    resource_group: str
    cluster: str
    name: str
    identity_id: str
    client_id: str
    principal_id: str
    issuer_url: str
    activity: Activity
    until: float

    @property
    def resource_id(self) -> str:
        """The id as Azure writes it, `resourcegroups` in lower case."""
        group = f"/subscriptions/{self.subscription_id}/resourcegroups/{self.resource_group}"
        cluster = f"providers/Microsoft.ContainerService/managedClusters/{self.cluster}"
        return f"{group}/{cluster}/identityBindings/{self.name}"

    def provisioning_state(self, now: float) -> str:
        """Return Creating, Deleting or Succeeded."""
        return self.activity.value if now < self.until else "Succeeded"


@dataclass(frozen=True)
class Attachment:
    """What is attached to the cluster called `cluster`: the kubeconfig of a real API server, and its issuer.

    `issuer_url` empty: the issuer is the one that this cloud runs for the cluster. `key_set` is what the API server
    publishes at /openid/v1/jwks (RFC 7517); empty: the issuer itself is asked, as Entra would.
    """

    cluster: str
    kubeconfig: str = field(repr=False)
    issuer_url: str = ""
    key_set: str = ""
