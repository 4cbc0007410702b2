"""Decides where our containers are in a pod: first, the redirect before the sidecar. Knows no operation.

So nothing of the pod's own, init containers included, ever talks to the node's metadata service.
"""

from collections.abc import Iterator

from wisp.admission import containers, names
from wisp.admission.contract import Policy
from wisp.admission.identity import Share
from wisp.admission.pod import Pod
from wisp.admission.put import Builders
from wisp.admission.shape import Container, Object
from wisp.admission.wanted import Mode, Wanted


def ours(pod: Pod, wanted: Wanted, policy: Policy, share: Share) -> Iterator[tuple[str, list[Container], Builders]]:
    """Yield, for each list of containers that ours belong in, its name, what is in it, and ours."""
    sidecar = wanted.sidecar
    if sidecar is None:
        return
    guaranteed = containers.is_guaranteed([*pod.own, *pod.own_init])

    def redirect() -> Object:
        return containers.redirect(sidecar, policy, guaranteed=guaranteed)

    def proxy() -> Object:
        container = containers.proxy(sidecar, policy, guaranteed=guaranteed)
        if names.SIDECAR in wanted.skipped:
            return container
        return {**container, "env": share.sidecar, "volumeMounts": share.sidecar_mounts}

    before = {names.REDIRECT: redirect} if sidecar.mode is Mode.REDIRECT else {}
    if is_native(pod, policy):
        yield "initContainers", pod.init_containers, {**before, names.SIDECAR: proxy}
    else:
        if before:
            yield "initContainers", pod.init_containers, before
        yield "containers", pod.containers, {names.SIDECAR: proxy}


def is_native(pod: Pod, policy: Policy) -> bool:
    """Say whether the sidecar is among the init containers: where it is already, or as the policy has it."""
    there = pod.named.get(names.SIDECAR)
    return policy.native if there is None else any(each is there for each in pod.init_containers)
