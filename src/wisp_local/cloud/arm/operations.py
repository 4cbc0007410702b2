"""Long-running operations: what a client polls until the clock says that it is done.

The clock moves them, never the polls: `az aks create --no-wait` followed by `az aks wait` asks for the resource and
not for the operation. https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

import uuid
from datetime import UTC, datetime

from wisp_local.cloud.arm.call import Call, Reply
from wisp_local.cloud.arm.problem import ResourceError

RETRY = {"Retry-After": "1"}  # seconds; without it `az` asks again after 30


def accepted(call: Call, under: str, status: int = 202, *, location: bool = True) -> Reply:
    """Begin an operation and answer with where to ask about it, below the path `under`."""
    operation_id = str(uuid.uuid4())
    call.store.clusters.begin_operation(operation_id, call.now + call.operation_seconds)
    version = call.query.get("api-version", "2024-11-01")
    url, query = f"{call.base}{under}", f"{operation_id}?api-version={version}"
    headers = {"Azure-AsyncOperation": f"{url}/operations/{query}", **RETRY}
    if location:
        headers["Location"] = f"{url}/operationresults/{query}"
    return Reply(status, headers=headers)


def _status(call: Call) -> Reply:
    """Answer how far the operation is; Retry-After goes with every answer."""
    started, ends = _times(call)
    done = call.now >= ends
    document = {
        "id": call.path,
        "name": call.names["operation"],
        "status": "Succeeded" if done else "InProgress",
        "startTime": instant(started),
        **({"endTime": instant(ends)} if done else {}),
    }
    return Reply(200, document, RETRY)


def _result(call: Call) -> Reply:
    """Answer 202 until it is done and 204 afterwards, which is what `Location` is polled for."""
    _, ends = _times(call)
    if call.now >= ends:
        return Reply(204)
    url = f"{call.base}{call.path}?api-version={call.query['api-version']}"
    return Reply(202, headers={"Location": url, **RETRY})


def _times(call: Call) -> tuple[float, float]:
    times = call.store.clusters.operation(call.names["operation"])
    if times is None:
        message = f"There is no operation '{call.names['operation']:.80}'."
        raise ResourceError(404, "OperationNotFound", message)
    return times


def instant(seconds: float) -> str:
    """Write Unix seconds as Resource Manager writes instants."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


_AT_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.ContainerService/locations/{location}"
ROUTES = {
    "GET /subscriptions/{subscription}/operations/{operation}": _status,
    "GET /subscriptions/{subscription}/operationresults/{operation}": _result,
    f"GET {_AT_LOCATION}/operations/{{operation}}": _status,
    f"GET {_AT_LOCATION}/operationresults/{{operation}}": _result,
}
