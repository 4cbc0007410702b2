"""Who may use which identity, as the ClusterRoles and ClusterRoleBindings of a cluster say. Pure.

Roles that people wrote, or that came from AKS, count like those of `wisp gateway grant`. RoleBindings do not count: the
gateway asks for the whole cluster. The rules are those of Kubernetes' RBAC authorizer
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/).
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from wisp.azure import is_guid
from wisp.gateway.grants import ALL_ACCOUNTS, Grant, Manifest, is_equivalent, parse_grant
from wisp.gateway.types import API_GROUP, VERB

ANY = "*"
"""Every identity, instead of a client id."""
_ACCOUNT_USER = "system:serviceaccount:"
_EVERYONE = "system:authenticated"
_ALL = ("", "")


class Permission(NamedTuple):
    """A subject of a ClusterRoleBinding may use an identity, or every identity (`ANY`)."""

    client_id: str
    kind: str
    """ServiceAccount, Group or User."""
    namespace: str
    """The namespace of a ServiceAccount."""
    name: str
    binding: str
    role: str
    managed: bool
    """Whether the objects are those of `wisp gateway grant`, so that `wisp gateway revoke` removes them."""

    @property
    def accounts(self) -> tuple[str, str] | None:
        """The service accounts of the subject: namespace and name, of which what is empty means all of them.

        None: a user or group to which no service account belongs. Such a subject never gets a token.
        """
        if self.kind == "ServiceAccount":
            return self.namespace, self.name
        if self.kind == "User" and self.name.startswith(_ACCOUNT_USER):
            namespace, _, name = self.name.removeprefix(_ACCOUNT_USER).partition(":")
            return (namespace, name) if namespace and name else None
        if self.kind == "Group" and self.name in (ALL_ACCOUNTS, _EVERYONE):
            return _ALL
        if self.kind == "Group" and self.name.startswith(f"{ALL_ACCOUNTS}:"):
            return self.name.removeprefix(f"{ALL_ACCOUNTS}:"), ""
        return None

    def concerns(self, grant: Grant) -> bool:
        """Return whether a service account of `grant` may use its identity by this permission."""
        accounts = self.accounts
        if accounts is None or self.client_id not in (ANY, grant.client_id):
            return False
        return all(
            not one or not other or one == other
            for one, other in zip(accounts, (grant.namespace, grant.service_account), strict=True)
        )


class Permissions(NamedTuple):
    """What a cluster grants, in order of client id, subject and binding; and what is written but grants nothing."""

    granted: list[Permission]
    warnings: list[str]


def find_permissions(roles: Iterable[Manifest], bindings: Iterable[Manifest]) -> Permissions:
    """Return who may use which identity.

    Subjects without service accounts are included if their role names the API group; otherwise they would be the
    administrators of the cluster, who never ask the gateway.
    """
    identities, warnings = {}, []
    for role in roles:
        name = role["metadata"]["name"]
        identities[name] = role, list(dict.fromkeys(_identities(role)))
        warnings += [
            f"ClusterRole {name} names {resource!r}, which grants nothing: it is not a client id in lower case"
            for resource in _useless_resources(role)
        ]
    found = []
    for binding in bindings:
        reference = binding.get("roleRef") or {}
        role, granted = identities.get(reference.get("name"), ({}, []))
        if reference.get("kind") == "ClusterRole":
            found += [
                permission
                for client_id, is_named in granted
                for permission in _of_subjects(binding, role, client_id)
                if is_named or permission.accounts is not None
            ]
    return Permissions(sorted(set(found)), sorted(warnings))


def _of_subjects(binding: Manifest, role: Manifest, client_id: str) -> Iterator[Permission]:
    name, role_name = binding["metadata"]["name"], role["metadata"]["name"]
    for subject in binding.get("subjects") or ():
        place = str(subject.get("namespace") or "")
        permission = Permission(
            client_id, str(subject["kind"]), place, str(subject["name"]), name, role_name, managed=False
        )
        accounts = permission.accounts
        grant = None if accounts is None else parse_grant(client_id, *accounts)
        managed = grant is not None and all(
            held["metadata"]["name"] == grant.name and is_equivalent(held, wanted)
            for held, wanted in ((role, grant.role), (binding, grant.binding))
        )
        yield permission._replace(managed=managed)


def _identities(role: Manifest) -> Iterator[tuple[str, bool]]:
    """Give each identity that a role grants, and whether a rule for it names the API group."""
    for rule in role.get("rules") or ():
        if _matches(rule, "verbs", VERB) and _matches(rule, "apiGroups", API_GROUP) and not rule.get("resourceNames"):
            is_named = API_GROUP in rule["apiGroups"]
            for resource in rule.get("resources") or ():
                if resource == ANY or _is_client_id(resource):
                    yield resource, is_named


def _useless_resources(role: Manifest) -> Iterator[Any]:
    for rule in role.get("rules") or ():
        if _matches(rule, "verbs", VERB) and API_GROUP in (rule.get("apiGroups") or ()):
            yield from (resource for resource in rule.get("resources") or () if not _is_usable(resource))


def _is_usable(resource: Any) -> bool:
    return resource == ANY or _is_client_id(resource)


def _is_client_id(resource: str) -> bool:
    return is_guid(resource) and resource == resource.lower()


def _matches(rule: Manifest, field: str, value: str) -> bool:
    values = rule.get(field) or ()
    return ANY in values or value in values
