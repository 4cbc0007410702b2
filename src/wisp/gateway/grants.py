"""Grants of identities to service accounts: the RBAC objects, their names and the command that creates them. Pure.

A grant is a ClusterRole, which allows the verb on the identity, and a ClusterRoleBinding of the same name, which gives
the role to the service accounts. `grant_command` and `wisp gateway grant` make objects of the same names and contents.
"""

from typing import Any, NamedTuple, TypeAlias

from wisp.azure import is_guid
from wisp.gateway.types import API_GROUP, VERB
from wisp.kubernetes.names import is_namespace, is_service_account

RBAC_GROUP = "rbac.authorization.k8s.io"
ALL_ACCOUNTS = "system:serviceaccounts"
"""The group of all service accounts. Those of a namespace are in the group of this name, a colon and the namespace."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "wisp"}
"""The label of objects that `wisp gateway grant` makes."""

Manifest: TypeAlias = dict[str, Any]

_PREFIX = "wisp-gateway:"


class Grant(NamedTuple):
    """The use of an identity by a service account, by those of a namespace, or by all of the cluster.

    `client_id` is a GUID in lower case. Without `service_account`, the grant is for all of the namespace; without
    `namespace`, for all of the cluster. `parse_grant` makes valid ones.
    """

    client_id: str
    namespace: str = ""
    service_account: str = ""

    @property
    def name(self) -> str:
        """The name of the ClusterRole and of the ClusterRoleBinding. No two grants have the same."""
        return _PREFIX + ":".join(part for part in self if part)

    @property
    def subject(self) -> Manifest:
        """The subject of the ClusterRoleBinding."""
        if self.service_account:
            return {"kind": "ServiceAccount", "namespace": self.namespace, "name": self.service_account}
        group = f"{ALL_ACCOUNTS}:{self.namespace}" if self.namespace else ALL_ACCOUNTS
        return {"kind": "Group", "apiGroup": RBAC_GROUP, "name": group}


def parse_grant(client_id: str, namespace: str = "", service_account: str = "") -> Grant | None:
    """Return the grant, or None unless the client id is a GUID and the others are names of Kubernetes."""
    if not is_guid(client_id) or (service_account and not namespace):
        return None
    if namespace and not is_namespace(namespace):
        return None
    if service_account and not is_service_account(service_account):
        return None
    return Grant(client_id.lower(), namespace, service_account)


def grant_command(client_id: str, namespace: str = "", service_account: str = "") -> str:
    """Return the shell command that grants the identity to the service account: `kubectl` alone, on one line.

    `kubectl create clusterrole` cannot make the role: it refuses resources that the API server does not serve. The role
    is in YAML without double quotes and backslashes, because clients print the command inside JSON. The command can be
    repeated. Raise ValueError for names that Kubernetes does not allow: they need not be safe in a shell.
    """
    grant = parse_grant(client_id, namespace, service_account)
    if grant is None:
        raise ValueError("not a GUID and the names of a namespace and a service account")
    rule = f"{{apiGroups: [{API_GROUP}], resources: [{grant.client_id}], verbs: [{VERB}]}}"
    subject = grant.subject
    is_group = subject["kind"] == "Group"
    option = f"--group={subject['name']}" if is_group else f"--serviceaccount={namespace}:{service_account}"
    return (
        f"(echo apiVersion: {RBAC_GROUP}/v1; echo kind: ClusterRole; echo 'metadata: {{name: {grant.name}}}'; "
        f"echo 'rules: [{rule}]') | kubectl apply -f - && "
        f"kubectl create clusterrolebinding {grant.name} --clusterrole={grant.name} {option}"
    )
