"""Decides what is done to a pod so that it gets its identity: operations that touch only what they add. Pure.

What is there already stays, wherever it came from, so that a second time changes nothing.
"""

from typing import NamedTuple

from wisp.admission import names
from wisp.admission.advice import advice
from wisp.admission.contract import Policy
from wisp.admission.identity import Share, share_of
from wisp.admission.patch import Operation, add, applied, escaped
from wisp.admission.pod import Pod, pod_of
from wisp.admission.put import put_all, put_first, put_variables
from wisp.admission.shape import Object, object_in, texts_in
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
    usual, sidecars = share.variables + share.told, share.variables + share.sidecar
    for key, present in (("containers", pod.containers), ("initContainers", pod.init_containers)):
        for index, container in enumerate(present):
            name = container.get("name")
            if name != names.REDIRECT and name not in wanted.skipped:
                path = f"/spec/{key}/{index}"
                put_variables(operations, container, path, sidecars if name == names.SIDECAR else usual)
                put_all(operations, container, "volumeMounts", path, share.mounts)


def _name_default_container(operations: list[Operation], pod: Pod) -> None:
    """Have `kubectl exec` and `kubectl logs` mean the pod's own first container, as they do without the sidecar."""
    own = next((each.get("name") for each in pod.own), None)
    if own and names.DEFAULT_CONTAINER not in pod.annotations:
        # There are annotations: one of them asked for the sidecar.
        operations.append(add(f"/metadata/annotations/{escaped(names.DEFAULT_CONTAINER)}", own))
