"""Azure's built-in roles, and whether a principal's role assignments allow an action.

The table `roles.json` has the actions on resources that a local cloud has, from
https://learn.microsoft.com/azure/role-based-access-control/built-in-roles. Data actions decide nothing here, so a role
that has only those allows nothing.
"""

import json
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

_CLUSTER = "Microsoft.ContainerService/managedClusters"
LIST_CLUSTER_ADMIN_CREDENTIAL = f"{_CLUSTER}/listClusterAdminCredential/action"
LIST_CLUSTER_USER_CREDENTIAL = f"{_CLUSTER}/listClusterUserCredential/action"
WRITE_FEDERATED_CREDENTIAL = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
WRITE_ROLE_ASSIGNMENT = "Microsoft.Authorization/roleAssignments/write"
DELETE_ROLE_ASSIGNMENT = "Microsoft.Authorization/roleAssignments/delete"


@dataclass(frozen=True)
class RoleAssignment:
    """The assignment called `name` (a GUID) of a role to a principal at `scope`, a resource id; `created` in Unix s."""

    name: str
    scope: str
    role_definition_id: str
    principal_id: str
    principal_type: str
    created: float


@dataclass(frozen=True)
class Role:
    """A role definition: its GUID, and the actions that it allows, less `not_actions`; `*` matches any characters."""

    name: str
    guid: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()

    def allows(self, action: str) -> bool:
        """Tell whether the role allows `action`, in any case."""
        return _matches(action, self.actions) and not _matches(action, self.not_actions)


_ROWS = json.loads(pkgutil.get_data(__package__, "roles.json") or b"")
BUILT_IN = tuple(
    Role(row["name"], row["guid"], tuple(row.get("actions", ())), tuple(row.get("not_actions", ()))) for row in _ROWS
)
_BY_GUID = {role.guid: role for role in BUILT_IN}
OWNER = next(role for role in BUILT_IN if role.name == "Owner")


def role_of(definition_id: str) -> Role | None:
    """Return the role whose definition has this resource id, or this GUID."""
    return _BY_GUID.get(definition_id.rpartition("/")[2].lower())


def is_allowed(assignments: Iterable[RoleAssignment], principal_id: str, action: str, scope: str) -> bool:
    """Tell whether one of `assignments` gives the principal a role with `action` at `scope` or above it.

    `scope` is a resource id; resource ids and actions ignore case. An assignment also covers everything below its
    scope (https://learn.microsoft.com/azure/role-based-access-control/scope-overview).
    """
    resource = f"{scope.lower().rstrip('/')}/"
    return any(
        assignment.principal_id.lower() == principal_id.lower()
        and resource.startswith(f"{assignment.scope.lower().rstrip('/')}/")
        and (role := role_of(assignment.role_definition_id)) is not None
        and role.allows(action)
        for assignment in assignments
    )


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
