"""Decides what a pod's maker should hear though the pod is admitted: mistakes, and what will not work. Pure."""

from wisp.admission.contract import Policy
from wisp.admission.pod import Pod
from wisp.admission.shape import Object
from wisp.admission.wanted import Wanted


def advice(pod: Pod, account: Object, wanted: Wanted, policy: Policy) -> tuple[str, ...]:
    """Return the warnings about a pod; `account` is the metadata of its service account."""
    return ()
