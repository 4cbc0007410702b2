"""Decides what is done to a pod so that it gets its identity: operations that touch only what they add. Pure.

What is there already stays, wherever it came from, so that a second time changes nothing. One thing is taken away:
where the sidecar alone is to have the identity, what an earlier mutation gave the other containers of it.
"""

from typing import NamedTuple

from wisp.admission import names
from wisp.admission.advice import advice
from wisp.admission.contract import Policy
from wisp.admission.identity import Share, is_token_mount, share_of
from wisp.admission.patch import Operation, add, applied, escaped, remove
from wisp.admission.pod import Pod, pod_of
from wisp.admission.put import put_all, put_first, put_variables
from wisp.admission.shape import Object, object_in, objects_in, texts_in
from wisp.admission.sidecar import ours
from wisp.admission.wanted import Wanted, wanted_by

_ACCOUNT = "ServiceAccount"


class Mutation(NamedTuple):
    """What is done to a pod, in order, and what its maker should hear."""

    operations: tuple[Operation, ...]
    warnings: tuple[str, ...]


def mutate(pod: Object, account: Object, policy: Policy) -> Object:
    """Return the pod with its identity. `pod` itself is not altered. Raise PodError."""
    return applied(pod, mutation(pod, account, policy).operations)


def mutation(document: Object, account: Object, policy: Policy) -> Mutation:
    """Decide what is done to a pod that runs as `account`, a ServiceAccount. Raise PodError where it cannot be done.

    The label is not looked at: whoever asks has decided that this pod is to have its identity.
    """
    pod = pod_of(document)
    metadata = object_in(account, "metadata", _ACCOUNT)
    wanted = wanted_by(pod, texts_in(metadata, "annotations", f"{_ACCOUNT}/metadata"), policy)
    share = share_of(pod, wanted, policy)
    operations: list[Operation] = []
    put_all(operations, pod.spec, "volumes", "/spec", share.volumes)
    _give(operations, pod, wanted, share)
    if wanted.sidecar is not None:
        _name_default_container(operations, pod)
        # Last, for what is there moves back by it.
        for key, present, builders in ours(pod, wanted, policy, share):
            put_first(operations, f"/spec/{key}", present, builders)
    return Mutation(tuple(operations), advice(pod, metadata, wanted, policy))


def _give(operations: list[Operation], pod: Pod, wanted: Wanted, share: Share) -> None:
    """Give the containers that are there what is theirs of the share; the redirect's gets nothing."""
    for key, present in (("containers", pod.containers), ("initContainers", pod.init_containers)):
        for index, container in enumerate(present):
            name, path = container.get("name"), f"/spec/{key}/{index}"
            variables, mounts, left = share.sidecar, share.sidecar_mounts, container
            if name != names.SIDECAR:
                variables, mounts = share.application, share.application_mounts
                if share.withheld:
                    left = _withdraw(operations, container, path, share.withheld)
            if name != names.REDIRECT and name not in wanted.skipped:
                if variables:
                    put_variables(operations, left, path, variables)
                if mounts:
                    put_all(operations, left, "volumeMounts", path, mounts)


def _withdraw(operations: list[Operation], container: Object, path: str, withheld: list[Object]) -> Object:
    """Take the identity from a container that an earlier mutation gave it to; return what is left of the container.

    The token's mount tells that there was one, for its volume has a reserved name. Without it, variables are the
    user's own, and stay.
    """
    mounts = objects_in(container, "volumeMounts", path)
    token_mounts = [each for each in mounts if is_token_mount(each)]
    if not token_mounts:
        return container
    left = _without(operations, container, f"{path}/volumeMounts", token_mounts)
    return _without(operations, left, f"{path}/env", withheld)


def _without(operations: list[Operation], container: Object, path: str, unwanted: list[Object]) -> Object:
    """Remove what is unwanted from the container's list at `path`, and the list itself if nothing else is in it."""
    parent, _, key = path.rpartition("/")
    present = objects_in(container, key, parent)
    places = [index for index, each in enumerate(present) if each in unwanted]
    if not places:
        return container
    if len(places) == len(present):
        operations.append(remove(path))
        return {name: value for name, value in container.items() if name != key}
    operations += [remove(f"{path}/{index}") for index in reversed(places)]
    return {**container, key: [each for each in present if each not in unwanted]}


def _name_default_container(operations: list[Operation], pod: Pod) -> None:
    """Have `kubectl exec` and `kubectl logs` mean the pod's own first container, as they do without the sidecar."""
    own = next((each.get("name") for each in pod.own), None)
    if own and names.DEFAULT_CONTAINER not in pod.annotations:
        # There are annotations: one of them asked for the sidecar.
        operations.append(add(f"/metadata/annotations/{escaped(names.DEFAULT_CONTAINER)}", own))
