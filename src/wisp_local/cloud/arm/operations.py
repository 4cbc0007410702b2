"""Long-running operations: the status that a client polls until the operation has ended.

The clock ends them, not the polls: `az aks create --no-wait` followed by `az aks wait` polls the resource and never the
operation. https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

import uuid
from datetime import UTC, datetime

from wisp_local.cloud.arm.handler import Call, Reply
from wisp_local.cloud.arm.problem import ResourceError

_RETRY = {"Retry-After": "1"}  # seconds; without it `az` polls every 30


def begin(call: Call, under: str, *, location: bool = True) -> dict[str, str]:
    """Begin an operation, and return the headers with its status URLs below the path `under`."""
    operation_id = str(uuid.uuid4())
    call.store.clusters.begin_operation(operation_id, call.now + call.operation_seconds)
    url, query = f"{call.base}{under}", f"{operation_id}?api-version={call.query['api-version']}"
    headers = {"Azure-AsyncOperation": f"{url}/operations/{query}", **_RETRY}
    return {**headers, "Location": f"{url}/operationresults/{query}"} if location else headers


def _status(call: Call) -> Reply:
    started, ends = _times(call)
    done = call.now >= ends
    document = {
        "id": call.path,
        "name": call.names["operation"],
        "status": "Succeeded" if done else "InProgress",
        "startTime": timestamp(started),
        **({"endTime": timestamp(ends)} if done else {}),
    }
    return Reply(200, document, _RETRY)


def _result(call: Call) -> Reply:
    """Answer 202 until the operation has ended and 204 afterwards, as pollers of `Location` expect."""
    _, ends = _times(call)
    if call.now >= ends:
        return Reply(204)
    url = f"{call.base}{call.path}?api-version={call.query['api-version']}"
    return Reply(202, headers={"Location": url, **_RETRY})


def _times(call: Call) -> tuple[float, float]:
    times = call.store.clusters.operation(call.names["operation"])
    if times is None:
        message = f"There is no operation '{call.names['operation']:.80}'."
        raise ResourceError(404, "OperationNotFound", message)
    return times


def timestamp(seconds: float) -> str:
    """Write Unix seconds as Resource Manager writes times."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


_AT_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.ContainerService/locations/{location}"
ROUTES = {
    f"GET {root}/{path}/{{operation}}": handler
    for root in ("/subscriptions/{subscription}", _AT_LOCATION)
    for path, handler in (("operations", _status), ("operationresults", _result))
}
