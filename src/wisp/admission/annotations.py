"""Labels and annotations: their names, what they ask for, and which key a misspelled one was meant to be.

The names are those of azure-workload-identity v1.6.0; those marked "ours" are unknown to it. Clusters carry these names
already: none may change. Values come from JSON or YAML: neither the type of a key nor of a value is known.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from wisp.admission.policy import CustomTokenEndpoint, Policy, Resources, parse_quantity
from wisp.admission.types import MAX_SKIPPED, Object, PodError
from wisp.imds.passthrough import NAMES, read_names

PREFIX = "azure.workload.identity/"
USE = PREFIX + "use"
"""The label of pods that ask for their identity, with the value `true`: the webhook's objectSelector."""
CLIENT_ID = PREFIX + "client-id"
TENANT_ID = PREFIX + "tenant-id"
EXPIRATION = PREFIX + "service-account-token-expiration"
SKIP_CONTAINERS = PREFIX + "skip-containers"
INJECT_SIDECAR = PREFIX + "inject-proxy-sidecar"
SIDECAR_PORT = PREFIX + "proxy-sidecar-port"
USE_ENDPOINT = PREFIX + "use-"
"""Followed by a suffix that the cluster chooses: the custom token endpoint (identity bindings)."""
SIDECAR_MODE = PREFIX + "inject-proxy-mode"
"""Ours: `redirect`, or `env` for variables instead of interception."""
PROXY_ONLY = PREFIX + "inject-proxy-only"
"""Ours: adds the sidecar, and gives the identity to it alone."""
PASSTHROUGH = PREFIX + "proxy-passthrough"
"""Ours: narrows what the sidecar forwards to the node's metadata service."""
CPU_REQUEST = PREFIX + "proxy-cpu-request"
CPU_LIMIT = PREFIX + "proxy-cpu-limit"
MEMORY_REQUEST = PREFIX + "proxy-memory-request"
MEMORY_LIMIT = PREFIX + "proxy-memory-limit"

AMOUNTS = (CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT)
SIDECAR_SETTINGS = (SIDECAR_PORT, SIDECAR_MODE, PASSTHROUGH, *AMOUNTS)
"""Pod annotations that have no effect without a sidecar."""
ON_PODS = frozenset({EXPIRATION, SKIP_CONTAINERS, INJECT_SIDECAR, PROXY_ONLY, *SIDECAR_SETTINGS})
ON_ACCOUNTS = frozenset({CLIENT_ID, TENANT_ID, EXPIRATION})

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""The container that `kubectl exec` and `kubectl logs` use without -c."""
MIRROR = "kubernetes.io/config.mirror"
"""Marks the pods by which a kubelet shows its static pods."""

DEFAULT_PORT = 8000
MIN_EXPIRATION, MAX_EXPIRATION, DEFAULT_EXPIRATION = 3600, 86400, 3600
"""Seconds that a projected token may live, and its lifetime if no annotation sets it."""
MAX_COMPARED = 256
"""Labels, or annotations, of an object that are compared with the known keys: comparing takes time."""

_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""What Go's strconv.ParseBool accepts."""
_DECLINES = frozenset({"false", "f", "no", "n", "off", "0", "none", "disabled"})
_INTEGER = re.compile(r"[+-]?[0-9]+")
"""What Go's strconv.ParseInt accepts, in base 10."""


class Mode(Enum):
    """How a workload's requests reach the sidecar."""

    REDIRECT = "redirect"
    """Its traffic to the metadata service is redirected."""
    ENV = "env"
    """Environment variables name the sidecar's address."""


class SidecarRequest(NamedTuple):
    """The sidecar that a pod asks for."""

    requested_by: str
    """The annotation that asks for it."""
    port: int
    mode: Mode
    resources: Resources
    redirect_resources: Resources
    """For the redirect container. Annotated amounts apply to both, or no pod could satisfy every LimitRange."""
    has_identity_alone: bool
    """Whether the pod's other containers get neither the identity's variables nor the token."""
    passthrough: tuple[str, ...]
    """What the sidecar forwards to the node's metadata service: some of `wisp.imds.passthrough.NAMES`."""


class IdentityRequest(NamedTuple):
    """Everything that a pod and its service account ask for."""

    client_id: str
    """AZURE_CLIENT_ID; empty: not set."""
    tenant: str
    """AZURE_TENANT_ID; empty: not set."""
    expiration: int
    """Lifetime of the projected token in seconds."""
    skipped: frozenset[str]
    """Names of containers that get nothing."""
    endpoint: CustomTokenEndpoint | None
    sidecar: SidecarRequest | None


def read_request(
    pod: dict[str, str], account: dict[str, str], *, policy: Policy, pod_level: frozenset[str] = frozenset()
) -> IdentityRequest:
    """Read the annotations of a pod and of its service account. Raise PodError naming the one that is wrong.

    `pod_level` holds `cpu` and `memory` where the pod itself sets them for all its containers together.
    """
    endpoint = policy.token_endpoint
    if endpoint is not None and pod.get(USE_ENDPOINT + endpoint.suffix, "").lower() != "true":
        endpoint = None
    return IdentityRequest(
        account.get(CLIENT_ID, ""),
        account.get(TENANT_ID, policy.tenant_id),
        _expiration(pod.get(EXPIRATION) or account.get(EXPIRATION)),
        read_skipped(pod),
        endpoint,
        _sidecar(pod, policy, pod_level) if requests_sidecar(pod) else None,
    )


def read_skipped(annotations: dict[str, str]) -> frozenset[str]:
    """Return the names in skip-containers. Raise PodError for more than a pod can have containers."""
    text = annotations.get(SKIP_CONTAINERS)
    if not text:
        return frozenset()
    if text.count(";") > MAX_SKIPPED:
        raise PodError(f"the annotation {SKIP_CONTAINERS} has more than {MAX_SKIPPED:,} names", hint="name fewer")
    return frozenset(name.strip() for name in text.split(";")) - {""}


def requests_sidecar(annotations: dict[str, str]) -> bool:
    """Check whether the pod asks for the sidecar, by either of the two annotations."""
    return _is_set(annotations, INJECT_SIDECAR) or _is_set(annotations, PROXY_ONLY)


def _is_set(annotations: dict[str, str], key: str) -> bool:
    """Check whether an annotation has any value, including an empty one, that Go does not read as false."""
    return annotations.get(key, "false") not in _FALSE


def is_boolean(text: str) -> bool:
    """Check whether Go's strconv.ParseBool accepts `text`."""
    return text in _TRUE or text in _FALSE


def _expiration(text: str | None) -> int:
    if not text:
        return DEFAULT_EXPIRATION
    value = parse_integer(text)
    if value is None or not MIN_EXPIRATION <= value <= MAX_EXPIRATION:
        raise PodError(
            f"the annotation {EXPIRATION} is {text[:64]!r}",
            hint=f"give whole seconds, {MIN_EXPIRATION} to {MAX_EXPIRATION}, in plain digits",
        )
    return value


def parse_integer(text: str) -> int | None:
    """Return the integer that Go's strconv.ParseInt reads in `text`, or None if it is invalid or has over 18 digits."""
    digits = text.lstrip("+-0")
    if _INTEGER.fullmatch(text) is None or len(digits) > 18:
        return None
    return int(text[0] + (digits or "0")) if text[0] in "+-" else int(digits or "0")


def _sidecar(annotations: dict[str, str], policy: Policy, pod_level: frozenset[str]) -> SidecarRequest:
    requested_by = INJECT_SIDECAR
    if not _is_set(annotations, INJECT_SIDECAR):
        requested_by = PROXY_ONLY
        if INJECT_SIDECAR in annotations:
            raise PodError(
                f"the annotation {PROXY_ONLY} asks for the sidecar, and {INJECT_SIDECAR} refuses it",
                hint=f"remove {INJECT_SIDECAR} to get the sidecar, or {PROXY_ONLY} to go without",
            )
    text = annotations.get(SIDECAR_PORT)
    port = DEFAULT_PORT if text is None else parse_integer(text)
    if port is None or not 1 <= port <= 65535:
        raise PodError(
            f"the annotation {SIDECAR_PORT} is {str(text)[:64]!r}", hint="give a port, 1 to 65535, in plain digits"
        )
    mode = annotations.get(SIDECAR_MODE, "redirect")
    if mode not in ("redirect", "env"):
        raise PodError(f"the annotation {SIDECAR_MODE} is {mode[:64]!r}", hint="use redirect or env")
    allowed = read_passthrough(annotations, policy)
    return SidecarRequest(
        requested_by,
        port,
        Mode(mode),
        _resources(annotations, policy.proxy_resources, pod_level),
        _resources(annotations, policy.redirect_resources, pod_level),
        _is_set(annotations, PROXY_ONLY) if PROXY_ONLY in annotations else policy.proxy_only,
        tuple(name for name in policy.passthrough if name in allowed),
    )


def read_passthrough(annotations: dict[str, str], policy: Policy) -> tuple[str, ...]:
    """Return what the pod's annotation lets its sidecar forward; the cluster's policy may allow less."""
    text = annotations.get(PASSTHROUGH)
    if text is None:
        return policy.passthrough
    try:
        return read_names(text)
    except ValueError:
        raise PodError(
            f"the annotation {PASSTHROUGH} is {text[:64]!r}",
            hint=f"give none, or some of {', '.join(NAMES)}, separated by commas",
        ) from None


def _resources(annotations: dict[str, str], default: Resources, pod_level: frozenset[str]) -> Resources:
    """Return annotated or default amounts, without defaults for what the pod sets: its containers may not exceed it."""
    if not pod_level and _AMOUNTS.isdisjoint(annotations):
        return default
    cpu = (None, None) if "cpu" in pod_level else (default.cpu_request, default.cpu_limit)
    memory = (None, None) if "memory" in pod_level else (default.memory_request, default.memory_limit)
    cpu = _request_and_limit(annotations, (CPU_REQUEST, CPU_LIMIT), cpu)
    memory = _request_and_limit(annotations, (MEMORY_REQUEST, MEMORY_LIMIT), memory)
    return Resources(cpu_request=cpu[0], cpu_limit=cpu[1], memory_request=memory[0], memory_limit=memory[1])


_AMOUNTS = frozenset(AMOUNTS)


def _request_and_limit(
    annotations: dict[str, str], keys: tuple[str, str], default: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    """Return request and limit. If only one is annotated and contradicts the other's default, both are the same."""
    request, limit = (_amount(annotations, key, value) for key, value in zip(keys, default, strict=True))
    if request is None or limit is None or (parse_quantity(request) or 0) <= (parse_quantity(limit) or 0):
        return request, limit
    if all(key in annotations for key in keys):
        raise PodError(
            f"the annotation {keys[0]} is more than {keys[1]}: {request!r}, {limit!r}",
            hint="give a limit of at least the request",
        )
    return (request, request) if keys[0] in annotations else (limit, limit)


def _amount(annotations: dict[str, str], key: str, default: str | None) -> str | None:
    """Return the annotated or default quantity; an empty annotation removes the default."""
    text = annotations.get(key, default)
    if text and parse_quantity(text) is None:
        raise PodError(f"the annotation {key} is {text[:64]!r}", hint="give a quantity such as 50m or 64Mi")
    return text or None


# Objects that are decoded but not checked.


def object_in(parent: Object, key: str, path: str = "") -> Object:
    """Return the object under `key` of `parent`, which is at `path`; an empty one if missing. Raise PodError."""
    value = parent.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise PodError(f"{path}/{key} is not an object", hint="correct the manifest")
    return value


def object_or_empty(parent: object, key: str) -> Object:
    """Return the object under `key` of `parent`, or an empty one if either is missing or of another type."""
    value = parent.get(key) if type(parent) is dict else None
    return value if type(value) is dict else {}


def strings_in(parent: Object, key: str, path: str) -> dict[str, str]:
    """Return the map of strings under `key` of `parent`, which is at `path`. Raise PodError."""
    value = object_in(parent, key, path)
    for name, text in value.items():
        if type(name) is not str or type(text) is not str:
            raise PodError(
                f"{path}/{key} has a value that is not a string, under {str(name)[:64]!r}",
                hint="correct the manifest; YAML may want quotes there",
            )
    return value


def is_labelled(document: Object) -> bool:
    """Check whether a decoded object has the label that asks for identities."""
    return object_or_empty(document.get("metadata"), "labels").get(USE) == "true"


def check_types(metadata: object, path: str) -> None:
    """Raise PodError if the labels are not a map, or a label or annotation of this project is not a string.

    API servers reject these. In YAML, `true`, `yes`, `on` and numbers are not strings unless they are quoted.
    """
    if type(metadata) is not dict:
        return
    labels = metadata.get("labels")
    if labels is not None and type(labels) is not dict:
        raise PodError(f"{path}/labels is not an object", hint='write each label as a line of its own, KEY: "VALUE"')
    for kind in ("labels", "annotations"):
        check_strings(object_or_empty(metadata, kind), f"{path}/{kind}")


def check_strings(values: Mapping[str, object], path: str) -> None:
    """Raise PodError if a label or annotation of this project in the map at `path` is not a string."""
    for key, value in values.items():
        if type(value) is not str and type(key) is str and key.startswith(PREFIX):
            raise PodError(f"{path}/{key} is not a string", hint='write its value in quotes, such as "true"')


# Misspelled keys.

_KNOWN = frozenset({USE, *ON_PODS, *ON_ACCOUNTS})
_MAX_KEY = 128
"""Characters of a key that is compared with the known ones."""
_CUTOFF = 0.95
"""Similarity, of 1, of two keys that differ by one letter of 24 (difflib's ratio)."""
_WORD = re.compile(r"[a-z0-9]+")


def _normalized(text: str) -> str:
    return "".join(_WORD.findall(text.lower()))


_BY_KEY = {_normalized(key): key for key in sorted(_KNOWN)}
_BY_SUFFIX = {_normalized(key.removeprefix(PREFIX)): key for key in sorted(_KNOWN)}


@lru_cache(maxsize=1024)
def correct_spelling(key: str) -> str | None:
    """Return the label or annotation that `key` misspells; None if it is a known one or resembles none."""
    if key in _KNOWN or key.startswith(USE_ENDPOINT) or len(key) > _MAX_KEY:
        return None
    lowered = key.lower()
    if "azure" not in lowered and "workload" not in lowered and "identity" not in lowered:
        return None
    head, _, tail = lowered.rpartition("/" if "/" in lowered else ".")
    if "azure" in head and ("workload" in head or "identity" in head) and _normalized(tail) in _BY_SUFFIX:
        return _BY_SUFFIX[_normalized(tail)]
    return next((_BY_KEY[match] for match in get_close_matches(_normalized(lowered), _BY_KEY, 1, _CUTOFF)), None)


def known_key(key: str) -> str | None:
    """Return the label or annotation that `key` is or misspells; None if it is neither."""
    return key if key in _KNOWN or key.startswith(USE_ENDPOINT) else correct_spelling(key)


@lru_cache(maxsize=1024)  # of keys that `wisp.admission.pod` has found to be no longer than Kubernetes allows
def is_related(key: str) -> bool:
    """Check whether a label or annotation is one of this project's, or a misspelled one."""
    return key.startswith(PREFIX) or correct_spelling(key) is not None


def related_keys(metadata: object, kind: str) -> Iterator[str]:
    """Yield this project's keys, or misspelled ones, among the `labels` or `annotations` of decoded metadata."""
    return filter(is_related, islice(object_or_empty(metadata, kind), MAX_COMPARED))


def is_declined(value: object) -> bool:
    """Check whether a value of the label `use` says in some spelling that no identity is wanted."""
    return type(value) is str and value.strip().lower() in _DECLINES


def annotated_object(key: str) -> str:
    """Return where an annotation belongs: "pod" or "service account"."""
    return "service account" if key in ON_ACCOUNTS - ON_PODS else "pod"
