"""Decides how a pod gets its identity: operations that touch only what they add.

What is already there stays, no matter what added it, so mutating a second time changes nothing. One thing is removed:
if only the sidecar is to have the identity, what an earlier mutation gave to the other containers.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from wisp.admission.annotations import DEFAULT_CONTAINER, IdentityRequest, object_in, read_request, strings_in
from wisp.admission.injection import Builders, Injection, is_token_mount, plan_containers, plan_injection
from wisp.admission.patch import Operation, apply, escape, move
from wisp.admission.pod import REDIRECT, SIDECAR, Pod, is_windows, read_decoded
from wisp.admission.policy import Policy
from wisp.admission.types import ABSENT, Container, Mount, Object, PodError, Variable, Volume
from wisp.admission.warnings import warnings_about

_DEFAULT_CONTAINER_PATH = f"/metadata/annotations/{escape(DEFAULT_CONTAINER)}"
_Named = TypeVar("_Named", Mount, Volume)
_Item = TypeVar("_Item", Mount, Variable)


class Mutation(NamedTuple):
    """Operations on a pod, in order, and warnings for its author."""

    operations: tuple[Operation, ...]
    warnings: tuple[str, ...]


def mutate(pod: Object, account: Object, policy: Policy) -> Object:
    """Return the pod with its identity. `pod` itself is not modified. Raise PodError."""
    return apply(pod, plan_mutation(read_decoded(pod), account, policy).operations)


def plan_mutation(pod: Pod, account: Object, policy: Policy) -> Mutation:
    """Decide how a pod that runs as `account`, a ServiceAccount, gets its identity. Raise PodError if it cannot.

    The label is not checked: the caller has decided that this pod gets its identity.
    """
    metadata = object_in(account, "metadata", "ServiceAccount")
    annotations = strings_in(metadata, "annotations", "ServiceAccount/metadata")
    request = read_request(pod.annotations, annotations, policy=policy, pod_level=pod.pod_level)
    _check_sidecar(pod, request)
    injection = plan_injection(pod, request, policy)
    operations: list[Operation] = []
    _put(operations, pod.volumes, "/spec/volumes", injection.volumes)
    _inject(operations, pod, request, injection)
    if request.sidecar is not None:
        # `kubectl exec` and `kubectl logs` go on using the pod's own first container.
        own = next((container.name for container in pod.own), None)
        if own and DEFAULT_CONTAINER not in pod.annotations:  # there are annotations: one asked for the sidecar
            operations.append({"op": "add", "path": _DEFAULT_CONTAINER_PATH, "value": own})
        # Last, because it shifts the indexes of the present containers.
        for key, present, builders in plan_containers(pod, request, policy, injection):
            _put_first(operations, f"/spec/{key}", present, builders)
    return Mutation(tuple(operations), warnings_about(pod, metadata, request, policy))


def _check_sidecar(pod: Pod, request: IdentityRequest) -> None:
    if request.sidecar is None:
        return
    if pod.spec.hostNetwork is True:
        raise PodError(
            "the pod uses the node's network (hostNetwork), where the sidecar would serve the whole node",
            hint=f"leave out hostNetwork or the annotation {request.sidecar.requested_by}",
        )
    if is_windows(pod.spec):
        raise PodError(
            "the pod runs on Windows, where there is no sidecar",
            hint=f"leave out the annotation {request.sidecar.requested_by}: Azure SDKs with workload identity work "
            "without the sidecar",
        )


def _inject(operations: list[Operation], pod: Pod, request: IdentityRequest, injection: Injection) -> None:
    """Give the present containers their variables and mounts; the redirect gets none."""
    withheld = frozenset((variable["name"], variable["value"]) for variable in injection.withheld)

    def is_withheld(variable: Variable) -> bool:
        return variable.valueFrom is ABSENT and (variable.name, variable.value) in withheld

    for key, present in (("containers", pod.containers), ("initContainers", pod.init_containers)):
        for index, container in enumerate(present):
            name, path = container.name, f"/spec/{key}/{index}"
            variables, mounts = injection.sidecar, injection.sidecar_mounts
            env, volume_mounts = container.env or [], container.volumeMounts or []
            if name != SIDECAR:
                variables, mounts = injection.application, injection.application_mounts
                # The mount shows that there was an earlier mutation, since its volume has a reserved name. Without
                # the mount, the variables are the user's own and stay.
                if withheld and any(map(is_token_mount, volume_mounts)):
                    volume_mounts = _remove(operations, volume_mounts, f"{path}/volumeMounts", is_token_mount)
                    env = _remove(operations, env, f"{path}/env", is_withheld)
            if name != REDIRECT and name not in request.skipped:
                if variables:
                    _put_variables(operations, env, f"{path}/env", variables)
                if mounts:
                    _put(operations, volume_mounts, f"{path}/volumeMounts", mounts)


def _remove(
    operations: list[Operation], present: list[_Item], path: str, is_unwanted: Callable[[_Item], bool]
) -> list[_Item]:
    """Remove unwanted items from the list at `path`, and the list if it becomes empty; return the remaining items."""
    indexes = [index for index, item in enumerate(present) if is_unwanted(item)]
    if not indexes:
        return present
    if len(indexes) == len(present):
        operations.append({"op": "remove", "path": path})
        return []
    operations += [{"op": "remove", "path": f"{path}/{index}"} for index in reversed(indexes)]
    return [item for item in present if not is_unwanted(item)]


def _put_variables(
    operations: list[Operation], present: Sequence[Variable], path: str, variables: list[Object]
) -> None:
    """Append the variables whose names are absent to the list `env` at `path`."""
    if not present:
        operations.append({"op": "add", "path": path, "value": variables})
        return
    names = {variable.name for variable in present}
    end = f"{path}/-"
    operations += [
        {"op": "add", "path": end, "value": variable} for variable in variables if variable["name"] not in names
    ]


def _put(operations: list[Operation], present: Sequence[_Named], path: str, items: list[Object]) -> None:
    """Make the list at `path` contain each of `items` once, by name.

    A mount of another name at the same `mountPath` stays, because there cannot be two.
    """
    if not present:
        operations.append({"op": "add", "path": path, "value": items})
        return
    surplus: list[int] = []
    names = {item["name"] for item in items}
    for item in items:
        indexes = [index for index, other in enumerate(present) if other.name == item["name"]]
        if indexes:
            if not _is_same(present[indexes[0]], item):
                operations.append({"op": "replace", "path": f"{path}/{indexes[0]}", "value": item})
            surplus += indexes[1:]
        elif not _is_taken(item.get("mountPath"), present, names):
            operations.append({"op": "add", "path": f"{path}/-", "value": item})
    operations += [{"op": "remove", "path": f"{path}/{index}"} for index in sorted(surplus, reverse=True)]


def _is_same(present: Mount | Volume, item: Object) -> bool:
    """Check whether a mount or volume is the injected one, apart from defaults that an API server fills in."""
    if isinstance(present, Mount):
        return msgspec.convert(item, Mount) == present
    if present.projected is None or present.projected.sources is ABSENT:
        return False
    try:
        return bool(msgspec.json.decode(present.projected.sources) == item["projected"]["sources"])
    except (ValueError, RecursionError):  # invalid JSON, which is not decoded until here
        return False


def _is_taken(mount_path: str | None, present: Sequence[Mount] | Sequence[Volume], ours: set[str]) -> bool:
    """Check whether a mount that is not ours is at this path."""
    return mount_path is not None and any(
        isinstance(other, Mount) and other.mountPath == mount_path and other.name not in ours for other in present
    )


def _put_first(operations: list[Operation], path: str, present: list[Container], builders: Builders) -> None:
    """Make the containers in `builders` the first of a list, in order, and build those that are absent."""
    if not present:
        operations.append({"op": "add", "path": path, "value": [build() for build in builders.values()]})
        return
    order = [container.name for container in present]
    for place, (name, build) in enumerate(builders.items()):
        if name not in order:
            order.insert(place, name)
            operations.append({"op": "add", "path": f"{path}/{place}", "value": build()})
        elif order.index(name) != place:
            operations.append(move(f"{path}/{order.index(name)}", f"{path}/{place}"))
            order.insert(place, order.pop(order.index(name)))
