"""The parts of a pod that admission reads, as types that msgspec decodes. Decides nothing.

Fields that are not here are skipped, so a pod costs only the memory of what is read. Names are those of the Kubernetes
API (core/v1, PodSpec). A value that is only compared may have any scalar type: templates, such as OpenShift's, have
text such as `${{PORT}}` in place of a number.
"""

# ruff: noqa: N815 -- the API's names

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Raw, Struct

from wisp.base.errors import WispError

Object: TypeAlias = dict[str, Any]
Scalar: TypeAlias = str | int | float | bool | None
Name: TypeAlias = Annotated[str, Meta(max_length=253)] | None
"""A name: Kubernetes allows 253 characters at most (DNS subdomain)."""

ABSENT = Raw()


class PodError(WispError):
    """A pod cannot be admitted as it is; the text is for the pod's author."""


class Variable(Struct, frozen=True, gc=False):
    """An environment variable of a container."""

    name: str | None = None
    value: Scalar = None
    valueFrom: Raw = ABSENT


class Mount(Struct, frozen=True, gc=False):
    """A volume mount of a container."""

    name: Name = None
    mountPath: str | None = None
    readOnly: Scalar = None
    subPath: Scalar = None
    subPathExpr: Scalar = None


class Port(Struct, frozen=True, gc=False):
    """A port that a container declares."""

    containerPort: Scalar = None


class Amounts(Struct, frozen=True, gc=False):
    """Amounts of the resources that decide a pod's quality of service class."""

    cpu: Scalar = None
    memory: Scalar = None


class Requirements(Struct, frozen=True, gc=False):
    """What a container, or the whole pod, requests and may use."""

    requests: Amounts | None = None
    limits: Amounts | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """Capabilities added to, and removed from, those that the container runtime gives by default."""

    add: list[str] | None = None
    drop: list[str] | None = None


class WindowsOptions(Struct, frozen=True, gc=False):
    """Options that only Windows has."""

    gmsaCredentialSpecName: Scalar = None
    gmsaCredentialSpec: Scalar = None
    runAsUserName: Scalar = None
    hostProcess: Scalar = None


class SecurityContext(Struct, frozen=True, gc=False):
    """The security context of a container, or of the pod."""

    runAsUser: Scalar = None
    runAsNonRoot: Scalar = None
    privileged: Scalar = None
    capabilities: Capabilities | None = None
    windowsOptions: WindowsOptions | None = None


class Container(Struct, frozen=True, gc=False):
    """A container or init container."""

    name: Name = None
    image: str | None = None
    env: list[Variable] | None = None
    volumeMounts: list[Mount] | None = None
    ports: list[Port] | None = None
    resources: Requirements | None = None
    securityContext: SecurityContext | None = None


class KeyToPath(Struct, frozen=True, gc=False):
    """A key of a ConfigMap, and the file that has its value."""

    key: str | None = None
    path: str | None = None


class ConfigMapSource(Struct, frozen=True, gc=False):
    """A ConfigMap in a projected volume."""

    name: str | None = None
    items: list[KeyToPath] | None = None
    optional: Scalar = None


class TokenSource(Struct, frozen=True, gc=False):
    """A service account token in a projected volume."""

    path: str | None = None
    audience: str | None = None
    expirationSeconds: Scalar = None


class LabelExpression(Struct, frozen=True, gc=False):
    """A requirement on labels: of a label selector, or of a node affinity."""

    key: str | None = None
    operator: str | None = None
    values: list[str] | None = None


class LabelSelector(Struct, frozen=True, gc=False):
    """A label selector."""

    matchLabels: dict[str, str] | None = None
    matchExpressions: list[LabelExpression] | None = None


class TrustBundleSource(Struct, frozen=True, gc=False):
    """ClusterTrustBundles in a projected volume."""

    signerName: str | None = None
    labelSelector: LabelSelector | None = None
    path: str | None = None
    optional: Scalar = None


class Source(Struct, frozen=True, gc=False):
    """One source of a projected volume."""

    serviceAccountToken: TokenSource | None = None
    configMap: ConfigMapSource | None = None
    clusterTrustBundle: TrustBundleSource | None = None


class Projected(Struct, frozen=True, gc=False):
    """A projected volume."""

    sources: list[Source] | None = None


class Volume(Struct, frozen=True, gc=False):
    """A volume of a pod."""

    name: Name = None
    projected: Projected | None = None


class NodeField(Struct, frozen=True, gc=False):
    """A requirement on a field of a node, none of which says anything about the operating system."""


class NodeTerm(Struct, frozen=True, gc=False):
    """A term of a node affinity: its requirements hold together."""

    matchExpressions: list[LabelExpression] | None = None
    matchFields: list[NodeField] | None = None


class RequiredNodes(Struct, frozen=True, gc=False):
    """The terms of a required node affinity, which are alternatives."""

    nodeSelectorTerms: list[NodeTerm] | None = None


class PreferredNodes(Struct, frozen=True, gc=False):
    """A preference for nodes."""

    preference: NodeTerm | None = None


class NodeAffinity(Struct, frozen=True, gc=False):
    """The node affinity of a pod."""

    requiredDuringSchedulingIgnoredDuringExecution: RequiredNodes | None = None
    preferredDuringSchedulingIgnoredDuringExecution: list[PreferredNodes] | None = None


class Affinity(Struct, frozen=True, gc=False):
    """The affinity of a pod."""

    nodeAffinity: NodeAffinity | None = None


class OperatingSystem(Struct, frozen=True, gc=False):
    """The operating system that a pod names."""

    name: str | None = None


class PodSpec(Struct, frozen=True, gc=False):
    """The spec of a pod."""

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


def object_in(parent: Object, key: str, path: str = "") -> Object:
    """Return the object under `key` of `parent`, which is at `path`; an empty one for none. Raise PodError."""
    value = parent.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise PodError(f"{path}/{key} is not an object", hint="correct the manifest")
    return value


def object_or_empty(parent: object, key: str) -> Object:
    """Return the object under `key` of `parent`; an empty one if there is none, whatever both are."""
    value = parent.get(key) if type(parent) is dict else None
    return value if type(value) is dict else {}


def texts_in(parent: Object, key: str, path: str) -> dict[str, str]:
    """Return the map of text to text under `key` of `parent`, which is at `path`. Raise PodError."""
    value = object_in(parent, key, path)
    for name, each in value.items():
        if type(name) is not str or type(each) is not str:
            raise PodError(
                f"{path}/{key} has a value that is not a string, under {str(name)[:64]!r}",
                hint="correct the manifest; YAML may want quotes there",
            )
    return value
