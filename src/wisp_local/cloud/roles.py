"""Azure's built-in roles, and whether a principal's role assignments allow an action.

https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

_CLUSTER = "Microsoft.ContainerService/managedClusters"
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
LIST_CLUSTER_ADMIN_CREDENTIAL = f"{_CLUSTER}/listClusterAdminCredential/action"
LIST_CLUSTER_USER_CREDENTIAL = f"{_CLUSTER}/listClusterUserCredential/action"
WRITE_FEDERATED_CREDENTIAL = f"{_IDENTITY}/federatedIdentityCredentials/write"
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


OWNER = Role("Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", ("*",))
# Of the other roles: the actions on resources that this cloud has. Data actions decide nothing here.
BUILT_IN = (
    OWNER,
    Role(
        "Contributor",
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        ("*",),
        (
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ),
    ),
    Role("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", ("*/read",)),
    Role(
        "User Access Administrator",
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        ("*/read", "Microsoft.Authorization/*"),
    ),
    Role(
        "Azure Kubernetes Service Cluster Admin Role",
        "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
        (LIST_CLUSTER_ADMIN_CREDENTIAL, f"{_CLUSTER}/read"),
    ),
    Role(
        "Azure Kubernetes Service Cluster User Role",
        "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        (LIST_CLUSTER_USER_CREDENTIAL, f"{_CLUSTER}/read"),
    ),
    Role(
        "Azure Kubernetes Service Contributor Role",
        "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8",
        (
            "Microsoft.Authorization/*/read",
            "Microsoft.ContainerService/locations/*",
            f"{_CLUSTER}/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ),
    ),
    Role(
        "Managed Identity Operator",
        "f1a07417-d97a-45cb-824c-7a7467783830",
        (
            f"{_IDENTITY}/*/read",
            f"{_IDENTITY}/*/assign/action",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ),
    ),
    Role(
        "Managed Identity Contributor",
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        (
            f"{_IDENTITY}/read",
            f"{_IDENTITY}/write",
            f"{_IDENTITY}/delete",
            f"{_IDENTITY}/federatedIdentityCredentials/read",
            WRITE_FEDERATED_CREDENTIAL,
            f"{_IDENTITY}/federatedIdentityCredentials/delete",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ),
    ),
    Role(
        "Network Contributor",
        "4d97b98b-1d4f-4787-a291-c67834d212e7",
        ("Microsoft.Authorization/*/read", "Microsoft.Resources/subscriptions/resourceGroups/read"),
    ),
    Role("AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d"),
    Role("Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6"),
    Role("Storage Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"),
    Role("Storage Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
)
_BY_GUID = {each.guid: each for each in BUILT_IN}


def role_of(definition_id: str) -> Role | None:
    """Return the role whose definition has this resource id, or this GUID."""
    return _BY_GUID.get(definition_id.rpartition("/")[2].lower())


def is_allowed(assignments: Iterable[RoleAssignment], principal_id: str, action: str, scope: str) -> bool:
    """Tell whether one of `assignments` gives the principal a role with `action` at `scope` or above it.

    `scope` is a resource id; resource ids and actions ignore case. An assignment also covers everything below its
    scope (https://learn.microsoft.com/azure/role-based-access-control/scope-overview).
    """
    return any(
        each.principal_id.lower() == principal_id.lower()
        and _covers(each.scope, scope)
        and (role := role_of(each.role_definition_id)) is not None
        and role.allows(action)
        for each in assignments
    )


def _covers(scope: str, resource: str) -> bool:
    return f"{resource.lower().rstrip('/')}/".startswith(f"{scope.lower().rstrip('/')}/")


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(action.lower(), each.lower()) for each in patterns)
