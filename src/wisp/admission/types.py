"""The parts of a pod that admission reads, as types that msgspec decodes, and the limits of what it accepts.

Fields that are not here are skipped, so a pod costs only the memory of what is read. Names are those of the Kubernetes
API (core/v1, PodSpec). A field that is only compared accepts any scalar: templates, such as OpenShift's, have text such
as `${{PORT}}` in place of a number.
"""

# ruff: noqa: D101, N815 -- the Kubernetes API names and documents these types

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Raw, Struct

from wisp.base.errors import WispError

MAX_REVIEW = 3 * 1024 * 1024 + 512 * 1024
"""Bytes of a review.

API servers accept requests of 3 MiB (k8s.io/apiserver, pkg/server/config.go, MaxRequestBodyBytes); the rest is for the
review around the pod and the defaults that the API server has filled in.
"""
MAX_PATCH = 1024 * 1024
"""Bytes of a JSON patch."""
MAX_CONTAINERS = 1000
"""Containers and init containers, except ours, of a labelled pod. A pod being created has no ephemeral containers."""
MAX_VALUES = 75_000
"""Members and list elements in the spec of a labelled pod."""
MAX_METADATA = 512 * 1024
"""Bytes of labels and annotations, as JSON. Kubernetes allows 256 KiB of annotations, and JSON's escapes are longer."""
MAX_SKIPPED = MAX_CONTAINERS
"""Names in the annotation skip-containers."""

Object: TypeAlias = dict[str, Any]
Scalar: TypeAlias = str | int | float | bool | None
Name: TypeAlias = Annotated[str, Meta(max_length=253)] | None
"""A name: Kubernetes allows 253 characters at most (DNS subdomain)."""

ABSENT = Raw()


class PodError(WispError):
    """A pod cannot be admitted as it is. The text is for the pod's author."""


class RetryError(PodError):
    """A pod cannot be admitted yet, and can be later. The text says what is missing."""


class Variable(Struct, frozen=True, gc=False):
    name: str | None = None
    value: Scalar = None
    valueFrom: Raw = ABSENT


class Mount(Struct, frozen=True, gc=False):
    name: Name = None
    mountPath: str | None = None
    readOnly: Scalar = None
    subPath: Scalar = None
    subPathExpr: Scalar = None


class Port(Struct, frozen=True, gc=False):
    containerPort: Scalar = None


class Amounts(Struct, frozen=True, gc=False):
    """Amounts of the resources that decide a pod's quality-of-service class."""

    cpu: Scalar = None
    memory: Scalar = None


class Requirements(Struct, frozen=True, gc=False):
    requests: Amounts | None = None
    limits: Amounts | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """Capabilities added to and dropped from the container runtime's default set."""

    add: list[str] | None = None
    drop: list[str] | None = None


class WindowsOptions(Struct, frozen=True, gc=False):
    gmsaCredentialSpecName: Scalar = None
    gmsaCredentialSpec: Scalar = None
    runAsUserName: Scalar = None
    hostProcess: Scalar = None


class SecurityContext(Struct, frozen=True, gc=False):
    runAsUser: Scalar = None
    runAsNonRoot: Scalar = None
    privileged: Scalar = None
    capabilities: Capabilities | None = None
    windowsOptions: WindowsOptions | None = None


class Container(Struct, frozen=True, gc=False):
    name: Name = None
    image: str | None = None
    env: list[Variable] | None = None
    volumeMounts: list[Mount] | None = None
    ports: list[Port] | None = None
    resources: Requirements | None = None
    securityContext: SecurityContext | None = None


class LabelExpression(Struct, frozen=True, gc=False):
    """A requirement on labels, in a label selector or a node affinity."""

    key: str | None = None
    operator: str | None = None
    values: list[str] | None = None


class Projected(Struct, frozen=True, gc=False):
    sources: Raw = ABSENT


class Volume(Struct, frozen=True, gc=False):
    name: Name = None
    projected: Projected | None = None


class NodeField(Struct, frozen=True, gc=False):
    """A requirement on a field of a node. No such field depends on the operating system."""


class NodeTerm(Struct, frozen=True, gc=False):
    """A term of a node affinity: its requirements hold together."""

    matchExpressions: list[LabelExpression] | None = None
    matchFields: list[NodeField] | None = None


class RequiredNodes(Struct, frozen=True, gc=False):
    """The terms of a required node affinity, which are alternatives."""

    nodeSelectorTerms: list[NodeTerm] | None = None


class PreferredNodes(Struct, frozen=True, gc=False):
    preference: NodeTerm | None = None


class NodeAffinity(Struct, frozen=True, gc=False):
    requiredDuringSchedulingIgnoredDuringExecution: RequiredNodes | None = None
    preferredDuringSchedulingIgnoredDuringExecution: list[PreferredNodes] | None = None


class Affinity(Struct, frozen=True, gc=False):
    nodeAffinity: NodeAffinity | None = None


class OperatingSystem(Struct, frozen=True, gc=False):
    name: str | None = None


class PodSpec(Struct, frozen=True, gc=False):
    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    volumes: list[Volume] | None = None
    restartPolicy: str | None = None
    hostNetwork: Scalar = None
    resources: Requirements | None = None
    securityContext: SecurityContext | None = None
    os: OperatingSystem | None = None
    nodeSelector: dict[str, Scalar] | None = None
    affinity: Affinity | None = None
