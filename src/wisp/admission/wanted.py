"""Decides what a pod and its service account ask for, by their annotations alone. Knows nothing of containers."""

import re
from enum import Enum
from typing import NamedTuple

from wisp.admission import limits, names
from wisp.admission.contract import Policy, Resources, TokenEndpoint
from wisp.admission.pod import Pod
from wisp.admission.quantity import quantity
from wisp.admission.shape import PodError
from wisp.imds.passthrough import NAMES, read_names

SHORTEST, LONGEST, USUAL = 3600, 86400, 3600
"""Seconds that a projected token may live, and lives unless something else is said."""

_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""What Go's strconv.ParseBool takes for false."""
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_MEASURES = frozenset({names.CPU_REQUEST, names.CPU_LIMIT, names.MEMORY_REQUEST, names.MEMORY_LIMIT})
_INTEGER = re.compile(r"[+-]?[0-9]+")
"""What Go's strconv.ParseInt takes, in base 10."""


class Mode(Enum):
    """How a workload's requests come to the sidecar."""

    REDIRECT = "redirect"
    """Its traffic to the metadata service is taken there."""
    ENV = "env"
    """It is told by variables."""


class Sidecar(NamedTuple):
    """The sidecar that a pod asks for."""

    port: int
    mode: Mode
    resources: Resources
    redirect_resources: Resources
    """Of the container before it: what is annotated is meant for both, or no pod could fit into every LimitRange."""
    has_identity_alone: bool
    """Whether the pod's other containers get neither the variables of the identity nor the token."""
    passthrough: tuple[str, ...]
    """What the sidecar passes on to the node's metadata service, some of `wisp.imds.passthrough.NAMES`."""


class Wanted(NamedTuple):
    """Everything that a pod and its service account ask for."""

    client_id: str
    """AZURE_CLIENT_ID; empty: not set."""
    tenant: str
    """AZURE_TENANT_ID; empty: not set."""
    expiration: int
    """Seconds that the projected token lives."""
    skipped: frozenset[str]
    """Names of containers that get nothing."""
    endpoint: TokenEndpoint | None
    sidecar: Sidecar | None


def wanted_by(pod: Pod, account: dict[str, str], policy: Policy) -> Wanted:
    """Read the annotations of a pod and of its service account. Raise PodError naming the one that is wrong."""
    return Wanted(
        account.get(names.CLIENT_ID, ""),
        account.get(names.TENANT_ID, policy.tenant_id),
        _expiration(pod.annotations.get(names.EXPIRATION) or account.get(names.EXPIRATION)),
        skipped_by(pod.annotations),
        _endpoint(pod.annotations, policy.token_endpoint),
        _sidecar(pod, policy) if wants_sidecar(pod.annotations) else None,
    )


def skipped_by(annotations: dict[str, str]) -> frozenset[str]:
    """Return the names in skip-containers. Raise PodError for more than a pod has containers."""
    text = annotations.get(names.SKIP_CONTAINERS)
    if not text:
        return frozenset()
    if text.count(";") > limits.SKIPPED:
        raise PodError(
            f"the annotation {names.SKIP_CONTAINERS} has more than {limits.SKIPPED:,} names", hint="name fewer"
        )
    return frozenset(name.strip() for name in text.split(";")) - {""}


def wants_sidecar(annotations: dict[str, str]) -> bool:
    """Say whether the pod asks for the sidecar, by either annotation that does."""
    return _says_yes(annotations, names.INJECT_SIDECAR) or _says_yes(annotations, names.PROXY_ONLY)


def is_boolean(text: str) -> bool:
    """Say whether Go's strconv.ParseBool takes `text`."""
    return text in _TRUE or text in _FALSE


def _says_yes(annotations: dict[str, str], key: str) -> bool:
    """Say whether an annotation has any value, an empty one too, that is not a boolean's false."""
    return annotations.get(key, "false") not in _FALSE


def _has_identity_alone(annotations: dict[str, str], policy: Policy) -> bool:
    if names.PROXY_ONLY not in annotations:
        return policy.proxy_only
    return _says_yes(annotations, names.PROXY_ONLY)


def _expiration(text: str | None) -> int:
    if not text:
        return USUAL
    value = integer(text)
    if value is None or not SHORTEST <= value <= LONGEST:
        raise PodError(
            f"the annotation {names.EXPIRATION} is {text[:64]!r}",
            hint=f"give whole seconds, {SHORTEST} to {LONGEST}, in plain digits",
        )
    return value


def integer(text: str) -> int | None:
    """Return the integer that `text` is to Go's strconv.ParseInt, or None; what has over 18 digits is none."""
    if _INTEGER.fullmatch(text) is None or len(text.lstrip("+-0")) > 18:
        return None
    return int(text[0] + text[1:].lstrip("0") if text[0] in "+-" and text.strip("+-0") else text.lstrip("+-0") or "0")


def _endpoint(annotations: dict[str, str], endpoint: TokenEndpoint | None) -> TokenEndpoint | None:
    if endpoint is None or annotations.get(names.USE_ENDPOINT + endpoint.suffix, "").lower() != "true":
        return None
    return endpoint


def _sidecar(pod: Pod, policy: Policy) -> Sidecar:
    asked_by = names.INJECT_SIDECAR
    if not _says_yes(pod.annotations, names.INJECT_SIDECAR):
        asked_by = names.PROXY_ONLY
        if names.INJECT_SIDECAR in pod.annotations:
            raise PodError(
                f"the annotation {names.PROXY_ONLY} asks for the sidecar, and {names.INJECT_SIDECAR} refuses it",
                hint=f"remove {names.INJECT_SIDECAR} for the sidecar, or {names.PROXY_ONLY} to go without",
            )
    if pod.spec.hostNetwork is True:
        raise PodError(
            "the pod uses the node's network (hostNetwork), where the sidecar would serve the whole node",
            hint=f"leave out hostNetwork or the annotation {asked_by}",
        )
    if pod.is_windows:
        raise PodError(
            "the pod runs on Windows, where there is no sidecar",
            hint=f"leave out the annotation {asked_by}: the Azure SDKs' workload identity needs none",
        )
    return Sidecar(
        _port(pod.annotations),
        _mode(pod.annotations),
        _resources(pod.annotations, _unless_measured(pod, policy.proxy_resources)),
        _resources(pod.annotations, _unless_measured(pod, policy.redirect_resources)),
        _has_identity_alone(pod.annotations, policy),
        tuple(name for name in policy.passthrough if name in passthrough_of(pod.annotations, policy)),
    )


def _port(annotations: dict[str, str]) -> int:
    text = annotations.get(names.SIDECAR_PORT)
    if text is None:
        return names.DEFAULT_PORT
    port = integer(text)
    if port is None or not 1 <= port <= 65535:
        raise PodError(
            f"the annotation {names.SIDECAR_PORT} is {text[:64]!r}", hint="give a port, 1 to 65535, in plain digits"
        )
    return port


def _mode(annotations: dict[str, str]) -> Mode:
    text = annotations.get(names.SIDECAR_MODE)
    if text is None:
        return Mode.REDIRECT
    try:
        return Mode(text)
    except ValueError:
        raise PodError(f"the annotation {names.SIDECAR_MODE} is {text[:64]!r}", hint="use redirect or env") from None


def passthrough_of(annotations: dict[str, str], policy: Policy) -> tuple[str, ...]:
    """Return what the pod lets its sidecar pass on, by its annotation; the cluster's policy may allow less."""
    text = annotations.get(names.PASSTHROUGH)
    if text is None:
        return policy.passthrough
    try:
        return read_names(text)
    except ValueError:
        raise PodError(
            f"the annotation {names.PASSTHROUGH} is {text[:64]!r}",
            hint=f"give none, or some of {', '.join(NAMES)}, separated by commas",
        ) from None


def _unless_measured(pod: Pod, usual: Resources) -> Resources:
    """Return the usual resources but those that the pod names as a whole: containers may not ask for more than it."""
    measured = pod.measured
    if not measured:
        return usual
    cpu = (None, None) if "cpu" in measured else (usual.cpu_request, usual.cpu_limit)
    memory = (None, None) if "memory" in measured else (usual.memory_request, usual.memory_limit)
    return Resources(cpu_request=cpu[0], cpu_limit=cpu[1], memory_request=memory[0], memory_limit=memory[1])


def _resources(annotations: dict[str, str], usual: Resources) -> Resources:
    if _MEASURES.isdisjoint(annotations):
        return usual
    cpu_request, cpu_limit = _span(
        annotations, (names.CPU_REQUEST, names.CPU_LIMIT), (usual.cpu_request, usual.cpu_limit)
    )
    memory_request, memory_limit = _span(
        annotations, (names.MEMORY_REQUEST, names.MEMORY_LIMIT), (usual.memory_request, usual.memory_limit)
    )
    return Resources(
        cpu_request=cpu_request, cpu_limit=cpu_limit, memory_request=memory_request, memory_limit=memory_limit
    )


def _span(
    annotations: dict[str, str], keys: tuple[str, str], usual: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    """Return request and limit. Where only one is annotated and the usual other does not suit it, they are the same."""
    request, limit = (_quantity(annotations, key, value) for key, value in zip(keys, usual, strict=True))
    if request is None or limit is None or (quantity(request) or 0) <= (quantity(limit) or 0):
        return request, limit
    if all(key in annotations for key in keys):
        raise PodError(
            f"the annotation {keys[0]} is more than {keys[1]}: {request!r}, {limit!r}",
            hint="give a limit of at least the request",
        )
    return (request, request) if keys[0] in annotations else (limit, limit)


def _quantity(annotations: dict[str, str], key: str, usual: str | None) -> str | None:
    """Return the annotated quantity, or the usual one; an empty annotation is none at all."""
    text = annotations.get(key, usual)
    if text and quantity(text) is None:
        raise PodError(f"the annotation {key} is {text[:64]!r}", hint="give a quantity such as 50m or 64Mi")
    return text or None
