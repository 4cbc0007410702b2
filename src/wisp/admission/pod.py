"""Reads a pod's JSON into types, in two steps, and says whether it runs on Windows.

The first step is cheap, whatever the pod is: the label, the name of the service account, and where labels and
annotations are. The second reads labels, annotations and the spec, within the limits of `wisp.admission.types`.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from wisp.admission.annotations import MIRROR, USE
from wisp.admission.types import (
    ABSENT,
    MAX_CONTAINERS,
    MAX_METADATA,
    MAX_VALUES,
    Amounts,
    Container,
    LabelExpression,
    Name,
    NodeTerm,
    Object,
    PodError,
    PodSpec,
    Volume,
    WindowsOptions,
)

SIDECAR, REDIRECT = "azwi-proxy", "azwi-proxy-init"
"""Names of our containers."""

_T = TypeVar("_T")


class _Metadata(Struct, gc=False):
    name: Name = None
    generateName: Name = None  # noqa: N815 -- the API's name
    labels: Raw = ABSENT
    annotations: Raw = ABSENT
    managedFields: Raw = ABSENT  # noqa: N815 -- the API's name


class _Account(Struct, gc=False):
    serviceAccountName: Name = None  # noqa: N815 -- the API's name
    serviceAccount: Name = None  # noqa: N815 -- deprecated but still honoured


class _Document(Struct, gc=False):
    metadata: _Metadata | None = None
    spec: _Account | None = None


class _Spec(Struct, gc=False):
    spec: PodSpec | None = None


class _Labels(Struct, gc=False):
    use: str | None = msgspec.field(name=USE, default=None)


class _Annotations(Struct, gc=False):
    mirror: Raw = msgspec.field(name=MIRROR, default=ABSENT)


_decode_document = msgspec.json.Decoder(_Document).decode
_decode_labels = msgspec.json.Decoder(_Labels | None).decode
_decode_annotations = msgspec.json.Decoder(_Annotations | None).decode
_decode_spec = msgspec.json.Decoder(_Spec).decode
_MAX_KEY = 253 + len("/") + 63
"""Characters of a label's or annotation's key (Kubernetes, "Labels and Selectors", syntax and character set)."""
_decode_strings = msgspec.json.Decoder(dict[Annotated[str, Meta(max_length=_MAX_KEY)], str] | None).decode
_decode_values = msgspec.json.Decoder(dict[str, Raw]).decode


class Outline(NamedTuple):
    """What is known of a pod before its spec is read."""

    name: str
    """Its name, or `<generateName> (prefix)`. Its volume is named after it."""
    is_labelled: bool
    """Whether it asks for its identity."""
    is_mirror: bool
    """Whether it only shows a kubelet's static pod."""
    account: str
    """The name of the service account that it runs as."""
    document: Raw | bytes
    """The whole pod."""
    labels: Raw
    annotations: Raw
    managed_fields: Raw


class Pod(NamedTuple):
    """The parts of a pod that admission reads."""

    name: str
    """As in `Outline`."""
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: PodSpec
    containers: list[Container]
    init_containers: list[Container]
    volumes: list[Volume]
    named: dict[str, Container]
    """Containers and init containers by name."""
    own: list[Container]
    """The containers, except ours."""
    own_init: list[Container]
    """The init containers, except ours."""

    @property
    def pod_level(self) -> frozenset[str]:
        """Resources set for all containers together (Kubernetes, "Pod-level resource specification")."""
        resources = self.spec.resources
        if resources is None:
            return frozenset()
        both = (resources.requests or Amounts(), resources.limits or Amounts())
        return frozenset(
            name for name in ("cpu", "memory") if any(getattr(amounts, name) is not None for amounts in both)
        )


def read_outline(data: Raw | bytes) -> Outline:
    """Read the first step of a pod, or pod template, in JSON. Raise PodError."""
    document = _read(_decode_document, data)
    metadata, spec = document.metadata or _Metadata(), document.spec
    labels = annotations = None
    if metadata.labels is not ABSENT:
        labels = _read_label(metadata.labels)
    if metadata.annotations is not ABSENT:
        annotations = _read(_decode_annotations, metadata.annotations, "/metadata/annotations")
    return Outline(
        metadata.name or f"{metadata.generateName or ''} (prefix)",
        labels is not None and labels.use == "true",
        annotations is not None and annotations.mirror is not ABSENT,
        "default" if spec is None else spec.serviceAccountName or spec.serviceAccount or "default",
        data,
        metadata.labels,
        metadata.annotations,
        metadata.managedFields,
    )


def read_pod(outline: Outline) -> Pod:
    """Read the rest of a pod. Raise PodError if it is malformed or larger than the limits."""
    labels, annotations = read_metadata(outline)
    spec = _spec(outline)
    containers, init_containers = spec.containers or [], spec.initContainers or []
    ours = {SIDECAR, REDIRECT}.intersection(container.name for container in (*init_containers, *containers))
    count = len(containers) + len(init_containers) - len(ours)  # reinvocation
    if count > MAX_CONTAINERS:
        raise PodError(
            f"the pod has {count:,} containers and init containers, and at most {MAX_CONTAINERS:,} are accepted in "
            "a pod with the label azure.workload.identity/use",
            hint="use fewer containers, or remove the label",
        )
    return Pod(
        outline.name,
        labels,
        annotations,
        spec,
        containers,
        init_containers,
        spec.volumes or [],
        {container.name or "": container for container in (*init_containers, *containers)},
        [container for container in containers if container.name != SIDECAR],
        [container for container in init_containers if container.name not in (SIDECAR, REDIRECT)],
    )


def read_decoded(document: Object) -> Pod:
    """Read a pod, or pod template, that is already decoded. Raise PodError."""
    try:
        data = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PodError(f"the pod cannot be written as JSON: {error}", hint="correct the manifest") from None
    return read_pod(read_outline(data))


def read_metadata(outline: Outline) -> tuple[dict[str, str], dict[str, str]]:
    """Return labels and annotations. Raise PodError if they are too large or a value is not a string."""
    size = memoryview(outline.labels).nbytes + memoryview(outline.annotations).nbytes
    if size > MAX_METADATA:
        raise PodError(
            f"the pod's labels and annotations are {size:,} bytes of JSON, and at most {MAX_METADATA:,} are allowed",
            hint="shorten them: Kubernetes itself allows 262,144 bytes of annotations",
        )
    return _strings(outline.labels, "/metadata/labels"), _strings(outline.annotations, "/metadata/annotations")


def _spec(outline: Outline) -> PodSpec:
    values = _values(outline)
    if values > MAX_VALUES:
        raise PodError(
            f"the pod's spec has about {values:,} values, and at most {MAX_VALUES:,} are accepted in a pod with the "
            "label azure.workload.identity/use",
            hint=f"use fewer containers (at most {MAX_CONTAINERS:,}), variables, mounts and volumes, or remove "
            "the label",
        )
    spec = _read(_decode_spec, outline.document).spec
    if spec is None:
        raise PodError("the pod has no spec", hint="add a spec with the pod's containers")
    return spec


def _values(outline: Outline) -> int:
    """Estimate the number of values in a pod without its labels, annotations and managed fields.

    Every value but one follows a comma or an opening bracket, so all are counted before they are decoded.
    """
    if memoryview(outline.document).nbytes <= MAX_VALUES:
        return 0  # too few to matter
    whole, *skipped = map(_separators, (outline.document, outline.labels, outline.annotations, outline.managed_fields))
    return whole - sum(skipped)


def _separators(data: Raw | bytes) -> int:
    text = bytes(data)
    return text.count(b",") + text.count(b"{") + text.count(b"[")


def _strings(data: Raw, path: str) -> dict[str, str]:
    if data is ABSENT:
        return {}
    try:
        return _decode_strings(data) or {}
    except msgspec.ValidationError:
        values = _read(_decode_values, data, path)
        if any(len(key) > _MAX_KEY for key in values):
            raise PodError(f"{path} has a key of more than {_MAX_KEY} characters", hint="shorten it") from None
        key = next((key for key, value in values.items() if bytes(value)[:1] != b'"'), "")
        raise PodError(
            f"{path} has a value that is not a string, under {key[:64]!r}",
            hint="correct the manifest; YAML may want quotes there",
        ) from None
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _read_label(data: Raw) -> _Labels | None:
    try:
        labels: _Labels | None = _decode_labels(data)
    except msgspec.ValidationError as error:
        if " - at " in str(error):
            raise PodError(
                f"/metadata/labels/{USE} is not a string", hint='write its value in quotes, such as "true"'
            ) from None
        raise PodError(
            "/metadata/labels is not an object", hint='write each label as a line of its own, KEY: "VALUE"'
        ) from None
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None
    return labels


def _read(decode: Callable[[Any], _T], data: Raw | bytes, path: str = "") -> _T:
    """Decode `data`, which is at `path`. Raise PodError with the problem and its place."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        problem, wants_string = _problem(str(error), path)
        hint = "correct the manifest; YAML may want quotes there" if wants_string else "correct the manifest"
        raise PodError(problem, hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> PodError:
    """Report invalid JSON: msgspec does not look into strings that the first step skips."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return PodError(f"the pod is not valid JSON: {reason}", hint="send it as UTF-8, without lone surrogates")


_MESSAGE = re.compile(r"(?:Expected `([^`]*)`(?: of length <= (\d+))?(?:, got `[^`]*`)?|([^`]*?))(?: - at `\$(.*)`)?")
"""msgspec's message about a value of the wrong type or size, and its place."""
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.")
_TYPES = {"array": "a list", "object": "an object", "str": "a string"}


def _problem(message: str, path: str) -> tuple[str, bool]:
    """Return msgspec's message with the place as a JSON pointer, and whether a string is expected there."""
    found = _MESSAGE.fullmatch(message)
    if found is None:
        return f"{path}: {message}", False
    expected, longest, other, steps = found.groups()
    where = path + _STEP.sub(lambda step: "/" + (step[1] or "").replace("...", "*"), steps or "")
    if other is not None:
        return f"{where or '/'}: {other[:1].lower()}{other[1:]}", False
    if longest is not None:
        return f"{where} is longer than {longest} characters", False
    expected = expected.removesuffix(" | null")
    return f"{where or '/'} is not {_TYPES.get(expected, 'a string, number or boolean')}", expected == "str"


def account_name(spec: Object) -> str:
    """Return the name of the service account that pods of this decoded spec run as."""
    for key in ("serviceAccountName", "serviceAccount"):  # the second is deprecated but still honoured
        if type(spec.get(key)) is str and spec[key]:
            return str(spec[key])
    return "default"


# Windows. A pod can ask for it by its `os` field, a node selector, a required node affinity, and options that only
# Windows has. What a RuntimeClass or a node's name implies cannot be known from the pod. Source: Kubernetes, "Assigning
# Pods to Nodes", "Well-Known Labels", and PodSpec's `os`.

_LINUX, _WINDOWS = "linux", "windows"
_ANY = frozenset({_LINUX, _WINDOWS})
_NONE: frozenset[str] = frozenset()

_EXACT = frozenset({"kubernetes.io/os", "beta.kubernetes.io/os"})
"""Node labels that every node has, whose value is the operating system."""
_DISTRIBUTION = frozenset(
    {"kubernetes.azure.com/os-sku", "node.openshift.io/os_id", "cloud.google.com/gke-os-distribution"}
)
"""Node labels whose value names the operating system's distribution; all those of Windows begin with its name."""
_BUILD = "node.kubernetes.io/windows-build"
"""A node label that only Windows nodes have."""


def is_windows(spec: PodSpec) -> bool:
    """Check whether one of the ways to choose nodes leaves only Windows.

    One is enough, even if another says Linux: such a pod never starts, and a refusal tells its author why.
    """
    ways = _ways(spec)
    if any(systems == {_WINDOWS} for systems in ways):
        return True
    return _WINDOWS in _ANY.intersection(*ways) and any(map(any, map(msgspec.structs.astuple, _options(spec))))


def may_be_windows(spec: PodSpec) -> bool:
    """Check whether the pod names Windows nodes among those that it may run on, and Linux nodes too."""
    return (
        spec.affinity is not None
        and _ANY.intersection(*_ways(spec)) == _ANY
        and any(_systems(term) == {_WINDOWS} or _names_windows(term) for term in _expressions(spec))
    )


def _ways(spec: PodSpec) -> list[frozenset[str]]:
    """Return the operating systems that each way to choose nodes leaves."""
    ways = [_value(key, value) for key, value in (spec.nodeSelector or {}).items()]
    if spec.os is not None and spec.os.name is not None:
        ways.append(_named(spec.os.name))
    terms = _required_terms(spec)
    if terms is not None:  # the terms are alternatives; one without requirements matches no node
        ways.append(_NONE.union(*map(_term, terms)))
    return ways


def _required_terms(spec: PodSpec) -> list[NodeTerm] | None:
    affinity = None if spec.affinity is None else spec.affinity.nodeAffinity
    required = None if affinity is None else affinity.requiredDuringSchedulingIgnoredDuringExecution
    return None if required is None else required.nodeSelectorTerms


def _term(term: NodeTerm) -> frozenset[str]:
    """Return the operating systems that one term of a node affinity leaves: its requirements hold together."""
    if not term.matchExpressions and not term.matchFields:
        return _NONE
    return _ANY.intersection(*map(_systems, term.matchExpressions or ()))


def _systems(expression: LabelExpression) -> frozenset[str]:
    """Return the operating systems that one requirement on a node label leaves."""
    key, operator, listed = expression.key, expression.operator, expression.values or []
    if operator == "In":
        return _NONE.union(*(_value(key, value) for value in listed))
    if operator == "NotIn" and key in _EXACT:
        return _ANY - _NONE.union(*map(_named, listed))
    if key == _BUILD:
        return {"Exists": frozenset({_WINDOWS}), "DoesNotExist": frozenset({_LINUX})}.get(str(operator), _ANY)
    return _NONE if operator == "DoesNotExist" and key in _EXACT else _ANY


def _value(key: object, value: object) -> frozenset[str]:
    """Return the operating systems of the nodes that have this label with this value."""
    if key in _EXACT:
        return _named(value)
    if key in _DISTRIBUTION:
        return frozenset({_WINDOWS if str(value).lower().startswith(_WINDOWS) else _LINUX})
    return frozenset({_WINDOWS}) if key == _BUILD else _ANY


def _named(name: object) -> frozenset[str]:
    """Return the operating system of that name. With capitals it matches no node, but the intent is clear."""
    return _ANY & {str(name).lower()}


def _names_windows(expression: LabelExpression) -> bool:
    """Check whether a requirement lists Windows among other values."""
    listed = expression.values or [] if expression.operator == "In" else []
    return any(_value(expression.key, value) == {_WINDOWS} for value in listed)


def _expressions(spec: PodSpec) -> Iterator[LabelExpression]:
    """Yield every requirement on node labels, preferred ones too."""
    for term in _required_terms(spec) or ():
        yield from term.matchExpressions or ()
    affinity = None if spec.affinity is None else spec.affinity.nodeAffinity
    if affinity is not None:
        for preferred in affinity.preferredDuringSchedulingIgnoredDuringExecution or ():
            yield from (preferred.preference or NodeTerm()).matchExpressions or ()


def _options(spec: PodSpec) -> Iterator[WindowsOptions]:
    """Yield the Windows-only options of the security contexts of the pod and its containers."""
    for part in (spec, *(spec.initContainers or ()), *(spec.containers or ())):
        if part.securityContext is not None and part.securityContext.windowsOptions is not None:
            yield part.securityContext.windowsOptions
