"""Federated credentials: https://learn.microsoft.com/rest/api/managedidentity/federated-identity-credentials.

What Azure refuses, and how, is the table of errors at
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations#errors.
"""

from wisp_local.cloud.arm import groups, problem, reading, rendering
from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.identities import ONE as IDENTITY
from wisp_local.cloud.arm.permission import requires
from wisp_local.cloud.entra.directory import FederatedCredential, ManagedIdentity
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError
from wisp_local.cloud.names import MAXIMUM_FEDERATED_CREDENTIALS, check_credential_fits, is_credential_name
from wisp_local.cloud.roles import WRITE_FEDERATED_CREDENTIAL


def _owner(call: Call) -> ManagedIdentity:
    group = groups.find(call)
    try:
        return call.store.identity(group.name, call.names["identity"])
    except NotFoundError as error:
        raise problem.parent_not_found(rendering.IDENTITY, call.names["identity"]) from error


def _find(call: Call, owner: ManagedIdentity) -> FederatedCredential | None:
    name = call.names["credential"].lower()
    return next((each for each in call.store.federated_credentials(owner) if each.name.lower() == name), None)


def _list(call: Call) -> Reply:
    owner = _owner(call)
    return call.page([rendering.credential(owner, each) for each in call.store.federated_credentials(owner)])


def _show(call: Call) -> Reply:
    owner = _owner(call)
    found = _find(call, owner)
    if found is None:
        raise problem.resource_not_found(rendering.CREDENTIAL, call.names["credential"], owner.resource_group)
    return Reply(200, rendering.credential(owner, found))


def _put(call: Call) -> Reply:
    owner, name = _owner(call), call.names["credential"]
    if not is_credential_name(name):
        raise problem.bad_request(f"Federated Identity Credential name '{name:.130}' is invalid.")
    issuer, subject, audiences = reading.federated_credential(call.body)
    with call.writing.on(owner.resource_id):
        old = _find(call, owner)
        others = [other for other in call.store.federated_credentials(owner) if other != old]
        _must_fit(FederatedCredential(name, issuer, subject, audiences), others)
        made = call.store.put_federated_credential(
            owner, old.name if old else name, issuer=issuer, subject=subject, audiences=audiences
        )
    return Reply(201 if old is None else 200, rendering.credential(owner, made))


def _must_fit(credential: FederatedCredential, others: list[FederatedCredential]) -> None:
    try:
        check_credential_fits(credential, others)
    except ConflictError as error:
        raise problem.conflict("Issuer and subject combination already exists for this Managed Identity.") from error
    except RequestError as error:
        message = f"a user-assigned identity has at most {MAXIMUM_FEDERATED_CREDENTIALS} federated identity credentials"
        raise problem.bad_request(f"Too many Federated Identity Credentials: {message}. Delete one first.") from error


def _delete(call: Call) -> Reply:
    owner = _owner(call)
    with call.writing.on(owner.resource_id):
        if _find(call, owner) is None:
            return Reply(204)
        call.store.delete_federated_credential(owner, call.names["credential"])
    return Reply(200)


_ONE = f"{IDENTITY}/federatedIdentityCredentials/{{credential}}"
ROUTES = {
    f"GET {IDENTITY}/federatedIdentityCredentials": _list,
    f"GET {_ONE}": _show,
    f"PUT {_ONE}": requires(WRITE_FEDERATED_CREDENTIAL, _put),
    f"DELETE {_ONE}": _delete,
}
