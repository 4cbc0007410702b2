"""Errors of Resource Manager as Azure writes them: `{"error": {"code", "message"}}`.

Codes are Azure's (https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors and
the resource providers' own). Messages are Azure's too where users have published them;
docs/reference/resource-manager.md lists these.
"""

from collections.abc import Mapping


class ResourceError(Exception):
    """A request refused with HTTP `status`; programs read `code`, people read `message`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status
        self.code = code
        self.message = message

    def document(self) -> Mapping[str, object]:
        """Return the response body."""
        return {"error": {"code": self.code, "message": self.message}}


def invalid_content(reason: str) -> ResourceError:
    """Report a body that the resource does not accept."""
    return ResourceError(400, "InvalidRequestContent", f"The request content was invalid: {reason}.")


def bad_request(message: str) -> ResourceError:
    """Report what a resource provider rejects."""
    return ResourceError(400, "BadRequest", message)


def resource_elsewhere(resource_id: str, existing: str, requested: str) -> ResourceError:
    """Report that a resource cannot move from one location to another."""
    message = (
        f"The resource '{resource_id}' already exists in location '{existing}'. A resource with the same name cannot "
        f"be created in location '{requested}'. Please select a new resource name."
    )
    return ResourceError(409, "InvalidResourceLocation", message)


def parent_not_found(action: str, kind: str, parent_id: str) -> ResourceError:
    """Report that the parent of a resource of `kind` does not exist; `action` is read, write or delete."""
    message = (
        f"Failed to perform '{action}' on resource(s) of type '{kind}', because the parent resource '{parent_id}' "
        "could not be found."
    )
    return ResourceError(404, "ParentResourceNotFound", message)


def resource_not_found(kind: str, name: str, group: str) -> ResourceError:
    """Report a resource that is not in its existing resource group."""
    message = (
        f"The Resource '{kind}/{name:.130}' under resource group '{group}' was not found. For more details please go "
        "to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ResourceError(404, "ResourceNotFound", message)
