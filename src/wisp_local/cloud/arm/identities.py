"""User-assigned identities and their federated credentials.

https://learn.microsoft.com/rest/api/managedidentity lists the requests. What Azure rejects, and how, is in the table at
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations#errors.
"""

from collections.abc import Mapping
from dataclasses import replace

from wisp_local.cloud.arm import problem, reading
from wisp_local.cloud.arm.handler import Call, Reply, requires
from wisp_local.cloud.arm.problem import ResourceError
from wisp_local.cloud.arm.resources import IDENTITY, find_group, in_scope
from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS, check_credential, check_credential_fits, is_name
from wisp_local.cloud.roles import WRITE_FEDERATED_CREDENTIAL

_CREDENTIAL = f"{IDENTITY}/federatedIdentityCredentials"


def _find(call: Call, *, parent: bool = False) -> ManagedIdentity:
    """Return the identity in the path, which is the `parent` of a federated credential or the resource itself."""
    group, name = find_group(call), call.names["identity"]
    try:
        return call.store.identity(group.name, name)
    except NotFoundError as error:
        if not parent:
            raise problem.resource_not_found(IDENTITY, name, group.name) from error
        message = f"Failed to perform the operation. The parent resource '{IDENTITY}/{name:.130}' does not exist."
        raise ResourceError(404, "ParentResourceNotFound", message) from error


def _document(identity: ManagedIdentity) -> Mapping[str, object]:
    """Write an identity; its id has `resourcegroups` in lower case, as on Azure."""
    return {
        "id": identity.resource_id,
        "name": identity.name,
        "type": IDENTITY,
        "location": identity.location,
        "tags": dict(identity.tags),
        "properties": {
            "tenantId": identity.tenant_id,
            "principalId": identity.principal_id,
            "clientId": identity.client_id,
            "isolationScope": "None",
        },
    }


def _list(call: Call) -> Reply:
    return call.page([_document(identity) for identity in in_scope(call, call.store.identities())])


def _put(call: Call) -> Reply:
    group, name = find_group(call), call.names["identity"]
    location, tags = reading.location(call.body), reading.tags(call.body) or {}
    status = 200
    try:
        call.store.identity(group.name, name)
    except NotFoundError:
        status = 201
    try:
        identity = call.store.put_identity(group.name, name, location, tags=tags)
    except ConflictError as error:
        existing = _find(call)
        raise problem.resource_elsewhere(existing.resource_id, existing.location, location) from error
    return Reply(status, _document(identity))


def _patch(call: Call) -> Reply:
    old, tags = _find(call), reading.tags(call.body)
    changed = call.store.put_identity(old.resource_group, old.name, old.location, tags=tags)
    return Reply(200, _document(changed))


def _delete(call: Call) -> Reply:
    """Answer 200 when the identity existed and 204 when it did not, as Azure does."""
    group = find_group(call)
    try:
        call.store.delete_identity(call.store.identity(group.name, call.names["identity"]))
    except NotFoundError:
        return Reply(204)
    return Reply(200)


def _credential(call: Call, owner: ManagedIdentity, name: str) -> FederatedCredential | None:
    credentials = call.store.federated_credentials(owner)
    return next((credential for credential in credentials if credential.name.lower() == name.lower()), None)


def _credential_document(owner: ManagedIdentity, credential: FederatedCredential) -> Mapping[str, object]:
    return {
        "id": f"{owner.resource_id}/federatedIdentityCredentials/{credential.name}",
        "name": credential.name,
        "type": _CREDENTIAL,
        "properties": {
            "issuer": credential.issuer,
            "subject": credential.subject,
            "audiences": list(credential.audiences),
        },
    }


def _list_credentials(call: Call) -> Reply:
    owner = _find(call, parent=True)
    credentials = call.store.federated_credentials(owner)
    return call.page([_credential_document(owner, credential) for credential in credentials])


def _show_credential(call: Call) -> Reply:
    owner = _find(call, parent=True)
    credential = _credential(call, owner, call.names["credential"])
    if credential is None:
        raise problem.resource_not_found(_CREDENTIAL, call.names["credential"], owner.resource_group)
    return Reply(200, _credential_document(owner, credential))


def _put_credential(call: Call) -> Reply:
    owner, name = _find(call, parent=True), call.names["credential"]
    if not is_name("federated credential", name):
        raise problem.bad_request(f"Federated Identity Credential name '{name:.130}' is invalid.")
    requested = _requested_credential(name, call.body)
    with call.locks.hold(owner.resource_id):
        existing = _credential(call, owner, name)
        credential = write_credential(
            call, owner, requested if existing is None else replace(requested, name=existing.name)
        )
    return Reply(200 if existing else 201, _credential_document(owner, credential))


def write_credential(call: Call, owner: ManagedIdentity, credential: FederatedCredential) -> FederatedCredential:
    """Create or replace a federated credential; the caller holds the lock of the identity. Raises `ResourceError`."""
    others = [other for other in call.store.federated_credentials(owner) if other.name != credential.name]
    try:
        check_credential_fits(credential, others)
    except ConflictError as error:
        message = "Issuer and subject combination already exists for this Managed Identity."
        raise ResourceError(409, "Conflict", message) from error
    except RequestError as error:
        raise problem.bad_request(
            "Too many Federated Identity Credentials: a user-assigned identity has at most "
            f"{MAXIMUM_FEDERATED_CREDENTIALS} federated identity credentials. Delete one first."
        ) from error
    return call.store.put_federated_credential(
        owner,
        credential.name,
        issuer=credential.issuer,
        subject=credential.subject,
        audiences=credential.audiences,
    )


def _requested_credential(name: str, body: Mapping[str, object]) -> FederatedCredential:
    """Return the federated credential of a body, checked as Azure checks it."""
    properties = reading.object_field(body, "properties")
    issuer, subject = reading.text_field(properties, "issuer"), reading.text_field(properties, "subject")
    audiences = properties.get("audiences")
    if not issuer or not subject or not audiences:
        message = "Federated Identity Credential must specify 'issuer', 'subject' and 'audience'."
        raise problem.bad_request(f"The request format was unexpected. {message}")
    if not isinstance(audiences, list) or len(audiences) != 1 or not isinstance(audiences[0], str):
        raise problem.bad_request("Federated identity credentials must have exactly one audience.")
    requested = FederatedCredential(name, issuer, subject, (audiences[0],))
    try:
        check_credential(requested)
    except RequestError as error:
        reason = error.problem[:1].upper() + error.problem[1:]
        raise problem.bad_request(f"Federated Identity Credential is invalid. {reason}.") from error
    return requested


def _delete_credential(call: Call) -> Reply:
    owner = _find(call, parent=True)
    with call.locks.hold(owner.resource_id):
        if _credential(call, owner, call.names["credential"]) is None:
            return Reply(204)
        call.store.delete_federated_credential(owner, call.names["credential"])
    return Reply(200)


_GROUP = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{IDENTITY}"
_ONE = f"{_GROUP}/{{identity}}"
_ONE_CREDENTIAL = f"{_ONE}/federatedIdentityCredentials/{{credential}}"
ROUTES = {
    f"GET /subscriptions/{{subscription}}/providers/{IDENTITY}": _list,
    f"GET {_GROUP}": _list,
    f"GET {_ONE}": lambda call: Reply(200, _document(_find(call))),
    f"PUT {_ONE}": _put,
    f"PATCH {_ONE}": _patch,
    f"DELETE {_ONE}": _delete,
    f"GET {_ONE}/federatedIdentityCredentials": _list_credentials,
    f"GET {_ONE_CREDENTIAL}": _show_credential,
    f"PUT {_ONE_CREDENTIAL}": requires(WRITE_FEDERATED_CREDENTIAL, _put_credential),
    f"DELETE {_ONE_CREDENTIAL}": _delete_credential,
}
