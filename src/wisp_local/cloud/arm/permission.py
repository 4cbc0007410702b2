"""Handlers that need a role: those that give out credentials, or with which a caller could give itself a role."""

from urllib.parse import unquote

from wisp_local.cloud.arm import problem
from wisp_local.cloud.arm.call import Call, Handler, Reply
from wisp_local.cloud.roles import is_allowed


def requires(action: str, handler: Handler) -> Handler:
    """Return `handler` for callers with a role assignment that allows `action` on the resource of the path.

    As in Azure, the role is checked before anything is said about whether the resource exists.
    """

    def checked(call: Call) -> Reply:
        scope = _scope(call.path, action)
        if not is_allowed(call.store.assignments.all(), call.principal_id, action, scope):
            raise problem.not_authorized(call.client_id, call.principal_id, action, scope)
        return handler(call)

    return checked


def _scope(path: str, action: str) -> str:
    """Return the resource id that `path` names; the last segment of an `/action` is the action's name."""
    segments = [unquote(each) for each in path.strip("/").split("/")]
    return "/" + "/".join(segments[:-1] if action.endswith("/action") else segments)
