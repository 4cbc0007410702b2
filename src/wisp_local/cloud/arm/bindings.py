"""Identity bindings of managed clusters: https://learn.microsoft.com/azure/aks/identity-bindings-concepts.

On AKS, a binding lets a proxy that AKS runs exchange tokens for an identity. Here `wisp gateway` in the attached
cluster is that proxy: a binding gives the identity a federated credential for the gateway's service account.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from wisp_local.cloud.arm import problem, reading
from wisp_local.cloud.arm.clusters import check_idle, issuer_url, operations_path
from wisp_local.cloud.arm.handler import Call, Reply
from wisp_local.cloud.arm.identities import write_credential
from wisp_local.cloud.arm.managed_cluster import KIND as CLUSTER
from wisp_local.cloud.arm.operations import begin
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.resources import IDENTITY, find_group
from wisp_local.cloud.cluster import GATEWAY_SUBJECT, Activity, IdentityBinding, ManagedCluster
from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, FederatedCredential, ManagedIdentity
from wisp_local.cloud.errors import NotFoundError
from wisp_local.cloud.names import BINDING_CREDENTIAL, is_name
from wisp_local.cloud.roles import WRITE_FEDERATED_CREDENTIAL, is_allowed

_KIND = f"{CLUSTER}/identityBindings"
_PROPERTY = "properties.managedIdentity.resourceId"
_IDENTITY_ID = re.compile(rf"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/{IDENTITY}/([^/]+)", re.IGNORECASE)


def _cluster(call: Call, action: str) -> ManagedCluster:
    """Return the cluster in the path, whose bindings the caller wants to read, write or delete."""
    group, name = find_group(call), call.names["cluster"]
    cluster = call.store.clusters.get(group.name, name)
    if cluster is None:
        parent = f"{group.resource_id}/providers/{CLUSTER}/{name:.130}"
        raise problem.parent_not_found(action, "managedClusters/identityBindings", parent)
    return cluster


def _document(call: Call, binding: IdentityBinding) -> Mapping[str, object]:
    return {
        "id": binding.resource_id,
        "name": binding.name,
        "type": _KIND,
        "properties": {
            "managedIdentity": {
                "resourceId": binding.identity_id,
                "objectId": binding.principal_id,
                "clientId": binding.client_id,
                "tenantId": call.store.tenant().id,
            },
            "oidcIssuer": {"oidcIssuerUrl": binding.issuer_url},
            "provisioningState": binding.provisioning_state(call.now),
        },
    }


def _list(call: Call) -> Reply:
    return call.page([_document(call, binding) for binding in call.store.bindings.of(_cluster(call, "read"))])


def _show(call: Call) -> Reply:
    cluster, name = _cluster(call, "read"), call.names["binding"]
    binding = call.store.bindings.get(cluster, name)
    if binding is None:
        raise problem.resource_not_found(_KIND, name, cluster.resource_group)
    return Reply(200, _document(call, binding))


def _put(call: Call) -> Reply:
    """Create a binding, or restore the federated credential of an existing one."""
    cluster, name = _cluster(call, "write"), call.names["binding"]
    if not is_name("identity binding", name):
        raise problem.bad_request(f"Identity binding name '{name:.130}' is invalid.")
    identity = _identity(call)
    check_idle(call, cluster)
    existing = call.store.bindings.get(cluster, name)
    if existing is not None:
        _check_unchanged(call, existing, identity)
    issuer = issuer_url(call, cluster)
    _federate(call, identity, issuer)
    binding = IdentityBinding(
        subscription_id=cluster.subscription_id,
        resource_group=cluster.resource_group,
        cluster=cluster.name,
        name=existing.name if existing else name,
        identity_id=identity.resource_id,
        client_id=identity.client_id,
        principal_id=identity.principal_id,
        issuer_url=issuer,
        activity=Activity.CREATING,
        until=existing.until if existing else call.now + call.operation_seconds,
    )
    call.store.bindings.put(binding)
    headers = {} if existing else begin(call, operations_path(cluster), location=False)
    return Reply(200 if existing else 201, _document(call, binding), headers)


def _identity(call: Call) -> ManagedIdentity:
    """Return the identity that the body names, to which the caller may add federated credentials."""
    profile = reading.object_field(reading.object_field(call.body, "properties"), "managedIdentity")
    resource_id = reading.text_field(profile, "resourceId")
    if not resource_id:
        raise ResourceError(400, "InvalidParameter", f"Required parameter {_PROPERTY} is missing (null).")
    parts = _IDENTITY_ID.fullmatch(resource_id)
    if parts is None:
        message = (
            f"Property id '{resource_id:.400}' at path '{_PROPERTY}' is invalid. Expect fully qualified resource Id "
            "that start with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'."
        )
        raise ResourceError(400, "LinkedInvalidPropertyId", message)
    _check_role(call, resource_id)
    subscription, group, name = parts.groups()
    try:
        identity = call.store.identity(group, name)
    except NotFoundError as error:
        raise problem.resource_not_found(IDENTITY, name, group) from error
    if subscription.lower() != identity.subscription_id:
        raise problem.resource_not_found(IDENTITY, name, group)
    return identity


def _check_role(call: Call, identity_id: str) -> None:
    """Raise `ResourceError` (403) unless the caller may write federated credentials of the identity."""
    caller, action = call.caller, WRITE_FEDERATED_CREDENTIAL
    if not is_allowed(call.store.assignments.all(), caller.principal_id, action, identity_id):
        message = (
            f"The client '{caller.client_id:.80}' with object id '{caller.principal_id:.80}' has permission to perform "
            f"action '{_KIND}/write' on scope '{call.path:.400}'; however, it does not have permission to perform "
            f"action(s) '{action}' on the linked scope(s) '{identity_id:.400}' (respectively) or the linked scope(s) "
            "are invalid."
        )
        raise ResourceError(403, "LinkedAuthorizationFailed", message)


def _check_unchanged(call: Call, binding: IdentityBinding, identity: ManagedIdentity) -> None:
    """Raise `ResourceError` (409) for another identity, which a binding cannot get, or during an operation on it."""
    if binding.identity_id.lower() != identity.resource_id.lower():
        message = f"Changing property '{_PROPERTY}' is not allowed."
        raise ResourceError(409, "PropertyChangeNotAllowed", message)
    _check_settled(call, binding)


def _check_settled(call: Call, binding: IdentityBinding) -> None:
    state = binding.provisioning_state(call.now)
    if state != "Succeeded":
        message = (
            f"Operation is not allowed because there's an in progress operation ({state}) on the identity binding."
        )
        raise ResourceError(409, "OperationNotAllowed", message)


def _federate(call: Call, identity: ManagedIdentity, issuer: str) -> None:
    """Let the gateway in the cluster of `issuer` act as the identity, unless a federated credential does so already."""
    if _trusts_gateway(call.store.federated_credentials(identity), issuer):
        return
    # One transaction: what another process writes meanwhile could take the name.
    with call.locks.hold(identity.resource_id), call.store.transaction():
        credentials = call.store.federated_credentials(identity)
        if not _trusts_gateway(credentials, issuer):
            taken = {credential.name.lower() for credential in credentials}
            names = (BINDING_CREDENTIAL, *(f"{BINDING_CREDENTIAL}-{number}" for number in range(2, len(taken) + 3)))
            name = next(name for name in names if name not in taken)
            write_credential(call, identity, FederatedCredential(name, issuer, GATEWAY_SUBJECT, (DEFAULT_AUDIENCE,)))


def _trusts_gateway(credentials: list[FederatedCredential], issuer: str) -> bool:
    trusted = (issuer, GATEWAY_SUBJECT, (DEFAULT_AUDIENCE,))
    return any((one.issuer, one.subject, one.audiences) == trusted for one in credentials)


def _delete(call: Call) -> Reply:
    """Answer 202 with a status URL, or 204 when there is no such binding. The federated credential stays, as on AKS."""
    cluster = _cluster(call, "delete")
    binding = call.store.bindings.get(cluster, call.names["binding"])
    if binding is None:
        return Reply(204)
    check_idle(call, cluster)
    if binding.activity is not Activity.DELETING:
        _check_settled(call, binding)
        until = call.now + call.operation_seconds
        call.store.bindings.put(replace(binding, activity=Activity.DELETING, until=until))
    return Reply(202, headers=begin(call, operations_path(cluster)))


_GROUP = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{CLUSTER}/{{cluster}}/identityBindings"
_ONE = f"{_GROUP}/{{binding}}"
ROUTES = {f"GET {_GROUP}": _list, f"GET {_ONE}": _show, f"PUT {_ONE}": _put, f"DELETE {_ONE}": _delete}
