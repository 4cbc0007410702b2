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

Manifest: TypeAlias = dict[str, Any]

_PREFIX = "wisp-gateway:"
_MANAGED_BY = {"app.kubernetes.io/managed-by": "wisp"}


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
    def rules(self) -> list[Manifest]:
        """The rules of the ClusterRole."""
        return [{"apiGroups": [API_GROUP], "resources": [self.client_id], "verbs": [VERB]}]

    @property
    def subject(self) -> Manifest:
        """The subject of the ClusterRoleBinding."""
        if self.service_account:
            return {"kind": "ServiceAccount", "name": self.service_account, "namespace": self.namespace}
        group = f"{ALL_ACCOUNTS}:{self.namespace}" if self.namespace else ALL_ACCOUNTS
        return {"apiGroup": RBAC_GROUP, "kind": "Group", "name": group}

    @property
    def role(self) -> Manifest:
        """The ClusterRole."""
        return {**self._head("ClusterRole"), "rules": self.rules}

    @property
    def binding(self) -> Manifest:
        """The ClusterRoleBinding."""
        reference = {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": self.name}
        return {**self._head("ClusterRoleBinding"), "roleRef": reference, "subjects": [self.subject]}

    def _head(self, kind: str) -> Manifest:
        metadata = {"name": self.name, "labels": dict(_MANAGED_BY)}
        return {"apiVersion": f"{RBAC_GROUP}/v1", "kind": kind, "metadata": metadata}


def parse_grant(client_id: str, namespace: str = "", service_account: str = "") -> Grant | None:
    """Return the grant, or None unless the client id is a GUID and the others are names of Kubernetes."""
    if not is_guid(client_id) or (service_account and not namespace):
        return None
    if namespace and not is_namespace(namespace):
        return None
    if service_account and not is_service_account(service_account):
        return None
    return Grant(client_id.lower(), namespace, service_account)


def is_equivalent(held: Manifest, wanted: Manifest) -> bool:
    """Return whether a ClusterRole or ClusterRoleBinding of a cluster grants exactly what `wanted` grants.

    Labels, annotations and the order of subjects do not matter. A role that is filled by aggregation differs.
    """
    if held.get("aggregationRule"):
        return False
    return _essence(held) == _essence(wanted)


def _essence(manifest: Manifest) -> tuple[object, ...]:
    rules = [{name: values for name, values in rule.items() if values} for rule in _objects(manifest.get("rules"))]
    subjects = {_subject_key(subject) for subject in _objects(manifest.get("subjects"))}
    reference = manifest.get("roleRef") or {}
    return rules, subjects, reference.get("kind"), reference.get("name")


def _subject_key(subject: Manifest) -> tuple[object, ...]:
    return subject.get("kind"), subject.get("namespace") or "", subject.get("name")


def _objects(items: Any) -> list[Manifest]:
    return items or []


def grant_command(client_id: str, namespace: str = "", service_account: str = "") -> str:
    """Return the shell command that grants the identity to the service account: `kubectl` alone, on one line.

    `kubectl create clusterrole` cannot make the role: it refuses resources that the API server does not serve. The role
    is in YAML without double quotes and backslashes, because clients print the command inside JSON. The command can be
    repeated if it was interrupted. Raise ValueError for names that Kubernetes does not allow: they need not be safe in
    a shell.
    """
    grant = parse_grant(client_id, namespace, service_account)
    if grant is None:
        raise ValueError("not a GUID and the names of a namespace and a service account")
    name, subject = grant.name, grant.subject
    is_group = subject["kind"] == "Group"
    option = f"--group={subject['name']}" if is_group else f"--serviceaccount={namespace}:{service_account}"
    rule = f"{{apiGroups: [{API_GROUP}], resources: [{grant.client_id}], verbs: [{VERB}]}}"
    return (
        f"(echo apiVersion: {RBAC_GROUP}/v1; echo kind: ClusterRole; echo 'metadata: {{name: {name}}}'; "
        f"echo 'rules: [{rule}]') | kubectl apply -f - && "
        f"kubectl create clusterrolebinding {name} --clusterrole={name} {option}"
    )
