"""Decides what is done to a pod so that it gets its identity: operations that touch only what they add. Pure.

What is there already stays, wherever it came from, so that a second time changes nothing. One thing is taken away:
where the sidecar alone is to have the identity, what an earlier mutation gave the other containers of it.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from wisp.admission import names
from wisp.admission.advice import advice
from wisp.admission.contract import Policy
from wisp.admission.identity import Share, is_token_mount, share_of
from wisp.admission.patch import Operation, add, applied, escaped, remove
from wisp.admission.pod import Pod, pod_in
from wisp.admission.put import put_all, put_first, put_variables
from wisp.admission.shape import ABSENT, Mount, Object, Variable, object_in, texts_in
from wisp.admission.sidecar import ours
from wisp.admission.wanted import Wanted, wanted_by

_ACCOUNT = "ServiceAccount"
_T = TypeVar("_T", Mount, Variable)


class Mutation(NamedTuple):
    """What is done to a pod, in order, and what its maker should hear."""

    operations: tuple[Operation, ...]
    warnings: tuple[str, ...]


def mutate(pod: Object, account: Object, policy: Policy) -> Object:
    """Return the pod with its identity. `pod` itself is not altered. Raise PodError."""
    return applied(pod, mutation(pod_in(pod), account, policy).operations)


def mutation(pod: Pod, account: Object, policy: Policy) -> Mutation:
    """Decide what is done to a pod that runs as `account`, a ServiceAccount. Raise PodError where it cannot be done.

    The label is not looked at: whoever asks has decided that this pod is to have its identity.
    """
    metadata = object_in(account, "metadata", _ACCOUNT)
    wanted = wanted_by(pod, texts_in(metadata, "annotations", f"{_ACCOUNT}/metadata"), policy)
    share = share_of(pod, wanted, policy)
    operations: list[Operation] = []
    put_all(operations, pod.volumes, "/spec/volumes", share.volumes)
    _give(operations, pod, wanted, share)
    if wanted.sidecar is not None:
        _name_default_container(operations, pod)
        # Last, for what is there moves back by it.
        for key, present, builders in ours(pod, wanted, policy, share):
            put_first(operations, f"/spec/{key}", present, builders)
    return Mutation(tuple(operations), advice(pod, metadata, wanted, policy))


def _give(operations: list[Operation], pod: Pod, wanted: Wanted, share: Share) -> None:
    """Give the containers that are there what is theirs of the share; the redirect's gets nothing."""
    withheld = frozenset((each["name"], each["value"]) for each in share.withheld)
    for key, present in (("containers", pod.containers), ("initContainers", pod.init_containers)):
        for index, container in enumerate(present):
            name, path = container.name, f"/spec/{key}/{index}"
            variables, mounts = share.sidecar, share.sidecar_mounts
            env, volume_mounts = container.env or [], container.volumeMounts or []
            if name != names.SIDECAR:
                variables, mounts = share.application, share.application_mounts
                if withheld and any(map(is_token_mount, volume_mounts)):
                    volume_mounts = _without(operations, volume_mounts, f"{path}/volumeMounts", is_token_mount)
                    env = _without(operations, env, f"{path}/env", lambda each: _is_withheld(each, withheld))
            if name != names.REDIRECT and name not in wanted.skipped:
                if variables:
                    put_variables(operations, env, f"{path}/env", variables)
                if mounts:
                    put_all(operations, volume_mounts, f"{path}/volumeMounts", mounts)


def _is_withheld(variable: Variable, withheld: frozenset[tuple[str, str]]) -> bool:
    """Say whether a variable is one that an earlier mutation gave a container, and the sidecar alone is to have.

    The token's mount tells that there was one, for its volume has a reserved name. Without it, variables are the
    user's own, and stay.
    """
    return variable.valueFrom is ABSENT and (variable.name, variable.value) in withheld


def _without(operations: list[Operation], present: list[_T], path: str, is_unwanted: Callable[[_T], bool]) -> list[_T]:
    """Remove what is unwanted from the list at `path`, and the list if nothing is left in it; return what is left."""
    places = [index for index, each in enumerate(present) if is_unwanted(each)]
    if not places:
        return present
    if len(places) == len(present):
        operations.append(remove(path))
        return []
    operations += [remove(f"{path}/{index}") for index in reversed(places)]
    return [each for each in present if not is_unwanted(each)]


def _name_default_container(operations: list[Operation], pod: Pod) -> None:
    """Have `kubectl exec` and `kubectl logs` mean the pod's own first container, as they do without the sidecar."""
    own = next((each.name for each in pod.own), None)
    if own and names.DEFAULT_CONTAINER not in pod.annotations:
        # There are annotations: one of them asked for the sidecar.
        operations.append(add(f"/metadata/annotations/{escaped(names.DEFAULT_CONTAINER)}", own))
