"""Every refusal of Resource Manager, as Azure writes it: `{"error": {"code", "message"}}`; knows no HTTP library.

Codes are Azure's (https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors and
the resource providers' own); texts too where users have published them, docs/resource-manager.md says which.
"""

from collections.abc import Mapping


class ResourceError(Exception):
    """A request is refused with HTTP `status`; `code` is what programs look at, `message` what people read."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status
        self.code = code
        self.message = message

    def document(self) -> Mapping[str, object]:
        """Return the body."""
        return {"error": {"code": self.code, "message": self.message}}


def path_not_found(path: str) -> ResourceError:
    """Say that no resource type of this cloud's is at `path`."""
    message = (
        f"The resource type of '{path:.400}' is none that this local cloud has: resource groups, user-assigned "
        "identities with federated credentials, managed clusters and role assignments. Ask Azure for anything else."
    )
    return ResourceError(404, "InvalidResourceType", message)


def method_not_allowed(method: str, path: str) -> ResourceError:
    """Say that the resource is known, but not this method."""
    return ResourceError(405, "MethodNotAllowed", f"The method '{method}' cannot be used on '{path:.400}'.")


def version_missing() -> ResourceError:
    """Ask for the api-version, which every query has."""
    message = "The api-version query parameter (?api-version=) is required for all requests."
    return ResourceError(400, "MissingApiVersionParameter", message)


def version_invalid(version: str) -> ResourceError:
    """Say that the api-version is no date."""
    message = f"The api-version '{version:.40}' is invalid. The api-version is a date, such as 2024-11-01."
    return ResourceError(400, "InvalidApiVersionParameter", message)


def content_invalid(reason: str) -> ResourceError:
    """Say why the body is not what the resource wants."""
    return ResourceError(400, "InvalidRequestContent", f"The request content was invalid: {reason}.")


def bad_request(message: str) -> ResourceError:
    """Say why a resource provider does not take what it was given."""
    return ResourceError(400, "BadRequest", message)


def conflict(message: str) -> ResourceError:
    """Say what stands in the way."""
    return ResourceError(409, "Conflict", message)


def not_authorized(client_id: str, principal_id: str, action: str, scope: str) -> ResourceError:
    """Report that no role assignment of the caller allows `action` at `scope`."""
    message = (
        f"The client '{client_id:.80}' with object id '{principal_id:.80}' does not have authorization to perform "
        f"action '{action}' over scope '{scope:.400}' or the scope is invalid. If access was recently granted, please "
        "refresh your credentials."
    )
    return ResourceError(403, "AuthorizationFailed", message)


def subscription_not_found(subscription: str) -> ResourceError:
    """Say that the one subscription is another."""
    return ResourceError(404, "SubscriptionNotFound", f"The subscription '{subscription:.80}' could not be found.")


def group_not_found(name: str) -> ResourceError:
    """Say that the resource group of the path does not exist."""
    return ResourceError(404, "ResourceGroupNotFound", f"Resource group '{name:.100}' could not be found.")


def group_elsewhere(name: str, there: str, wanted: str) -> ResourceError:
    """Say that a resource group cannot move."""
    message = (
        f"Invalid resource group location '{wanted}'. The Resource group already exists in location '{there}'. "
        f"Name: '{name}'."
    )
    return ResourceError(409, "InvalidResourceGroupLocation", message)


def resource_elsewhere(resource_id: str, there: str, wanted: str) -> ResourceError:
    """Say that a resource cannot move."""
    message = (
        f"The resource '{resource_id}' already exists in location '{there}'. A resource with the same name cannot be "
        f"created in location '{wanted}'. Please select a new resource name."
    )
    return ResourceError(409, "InvalidResourceLocation", message)


def resource_not_found(kind: str, name: str, group: str) -> ResourceError:
    """Say that the resource group exists and the resource does not."""
    message = (
        f"The Resource '{kind}/{name:.130}' under resource group '{group}' was not found. For more details please go "
        "to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ResourceError(404, "ResourceNotFound", message)


def parent_not_found(kind: str, name: str) -> ResourceError:
    """Say that the parent of the resource does not exist."""
    message = f"Failed to perform the operation. The parent resource '{kind}/{name:.130}' does not exist."
    return ResourceError(404, "ParentResourceNotFound", message)


def concurrent_credential_writes(resource_id: str) -> ResourceError:
    """Say that another federated credential of the identity is being written."""
    message = (
        "Too many Federated Identity Credentials are written concurrently for the managed identity "
        f"'{resource_id}'. Concurrent Federated Identity Credentials writes under the same managed identity are not "
        "supported."
    )
    return ResourceError(409, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity", message)


def operation_not_allowed(message: str) -> ResourceError:
    """Say which long-running operation on the resource has not ended."""
    return ResourceError(409, "OperationNotAllowed", message)
