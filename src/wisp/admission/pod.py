"""Reads a pod's JSON into types, in two steps, and takes it apart; decides nothing. Knows no policy.

The first step costs next to nothing, whatever the pod is: the label, the name of the service account, and where labels
and annotations are. The second reads labels, annotations and the spec, within `wisp.admission.limits`.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from wisp.admission import limits
from wisp.admission.names import MIRROR, REDIRECT, SIDECAR, USE
from wisp.admission.shape import (
    ABSENT,
    Amounts,
    Container,
    Name,
    Object,
    PodError,
    PodSpec,
    Volume,
    object_or_empty,
)
from wisp.admission.windows import is_windows

_T = TypeVar("_T")


class _Metadata(Struct, gc=False):
    name: Name = None
    generateName: Name = None  # noqa: N815 -- the API's name
    labels: Raw = ABSENT
    annotations: Raw = ABSENT
    managedFields: Raw = ABSENT  # noqa: N815 -- the API's name


class _Account(Struct, gc=False):
    serviceAccountName: Name = None  # noqa: N815 -- the API's name
    serviceAccount: Name = None  # noqa: N815 -- deprecated, and obeyed


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
_LONGEST_KEY = 253 + len("/") + 63
"""Characters of a label's or annotation's key (Kubernetes, "Labels and Selectors", syntax and character set)."""
_decode_texts = msgspec.json.Decoder(dict[Annotated[str, Meta(max_length=_LONGEST_KEY)], str] | None).decode
_decode_values = msgspec.json.Decoder(dict[str, Raw]).decode


class Outline(NamedTuple):
    """What is known of a pod before its spec is read."""

    name: str
    """Its name, or `<generateName> (prefix)`: what its volume is named after."""
    is_labelled: bool
    """Whether it asks for its identity."""
    is_mirror: bool
    """Whether it only shows a static pod of a kubelet."""
    account: str
    """The name of the service account that it runs as."""
    document: Raw | bytes
    """All of it."""
    labels: Raw
    annotations: Raw
    managed_fields: Raw


class Pod(NamedTuple):
    """The parts that admission looks at."""

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
    """The containers but ours."""
    own_init: list[Container]
    """The init containers but ours."""

    @property
    def measured(self) -> frozenset[str]:
        """The resources that it names for all containers together (Kubernetes, "Pod-level resource specification")."""
        said = self.spec.resources
        if said is None:
            return frozenset()
        named = (said.requests or Amounts(), said.limits or Amounts())
        return frozenset(name for name in ("cpu", "memory") if any(getattr(each, name) is not None for each in named))

    @property
    def is_windows(self) -> bool:
        """Whether it runs on Windows, as far as it says so."""
        return is_windows(self.spec)


def outline_of(data: Raw | bytes) -> Outline:
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


def pod_of(outline: Outline) -> Pod:
    """Read the rest of a pod. Raise PodError where it is put together wrongly or larger than the limits."""
    labels, annotations = texts_of(outline)
    spec = _spec(outline)
    containers, init_containers = spec.containers or [], spec.initContainers or []
    ours = {SIDECAR, REDIRECT}.intersection(each.name for each in (*init_containers, *containers))
    count = len(containers) + len(init_containers) - len(ours)  # when the webhook is called again, they are there
    if count > limits.CONTAINERS:
        raise PodError(
            f"the pod has {count:,} containers and init containers, and at most {limits.CONTAINERS:,} are accepted in "
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
        {each.name or "": each for each in (*init_containers, *containers)},
        [each for each in containers if each.name != SIDECAR],
        [each for each in init_containers if each.name not in (SIDECAR, REDIRECT)],
    )


def pod_in(document: Object) -> Pod:
    """Read a pod, or pod template, that is decoded already. Raise PodError."""
    try:
        data = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PodError(f"the pod cannot be written as JSON: {error}", hint="correct the manifest") from None
    return pod_of(outline_of(data))


def texts_of(outline: Outline) -> tuple[dict[str, str], dict[str, str]]:
    """Return labels and annotations. Raise PodError where they are too large or a value is not a string."""
    size = memoryview(outline.labels).nbytes + memoryview(outline.annotations).nbytes
    if size > limits.METADATA:
        raise PodError(
            f"the pod's labels and annotations are {size:,} bytes of JSON, and at most {limits.METADATA:,} are allowed",
            hint="shorten them: Kubernetes itself allows 262,144 bytes of annotations",
        )
    return _texts(outline.labels, "/metadata/labels"), _texts(outline.annotations, "/metadata/annotations")


def _spec(outline: Outline) -> PodSpec:
    values = _values(outline)
    if values > limits.VALUES:
        raise PodError(
            f"the pod's spec has about {values:,} values, and at most {limits.VALUES:,} are accepted in a pod with the "
            "label azure.workload.identity/use",
            hint=f"use fewer containers (at most {limits.CONTAINERS:,}), variables, mounts and volumes, or remove "
            "the label",
        )
    spec = _read(_decode_spec, outline.document).spec
    if spec is None:
        raise PodError("the pod has no spec", hint="give it one, with its containers")
    return spec


def _values(outline: Outline) -> int:
    """Return about how many values there are in a pod besides its labels, annotations and managed fields.

    Every value but one is after a comma or an opening bracket, so that none is decoded without being counted.
    """
    if memoryview(outline.document).nbytes <= limits.VALUES:
        return 0  # or some, but too few to matter
    whole, *less = map(_separators, (outline.document, outline.labels, outline.annotations, outline.managed_fields))
    return whole - sum(less)


def _separators(data: Raw | bytes) -> int:
    text = bytes(data)
    return text.count(b",") + text.count(b"{") + text.count(b"[")


def _texts(data: Raw, path: str) -> dict[str, str]:
    if data is ABSENT:
        return {}
    try:
        return _decode_texts(data) or {}
    except msgspec.ValidationError:
        values = _read(_decode_values, data, path)
        if any(len(key) > _LONGEST_KEY for key in values):
            raise PodError(f"{path} has a key of more than {_LONGEST_KEY} characters", hint="shorten it") from None
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
    """Return what `data`, which is at `path`, is decoded to. Raise PodError saying what is wrong, and where."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        problem, wants_text = _problem(str(error), path)
        hint = "correct the manifest; YAML may want quotes there" if wants_text else "correct the manifest"
        raise PodError(problem, hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> PodError:
    """Say that it is not JSON: msgspec does not look into strings that are skipped in the first step."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return PodError(f"the pod is not valid JSON: {reason}", hint="send it as UTF-8, without lone surrogates")


_MESSAGE = re.compile(r"(?:Expected `([^`]*)`(?: of length <= (\d+))?(?:, got `[^`]*`)?|([^`]*?))(?: - at `\$(.*)`)?")
"""What msgspec says of a value of the wrong type or size, and where."""
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.")
_TYPES = {"array": "a list", "object": "an object", "str": "a string"}


def _problem(message: str, path: str) -> tuple[str, bool]:
    """Return msgspec's message with the place as a JSON pointer, and whether a string is wanted there."""
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
    """Return the name of the service account that pods of this decoded spec run as; nothing of it has been checked."""
    for key in ("serviceAccountName", "serviceAccount"):  # the second is deprecated, and obeyed
        if type(spec.get(key)) is str and spec[key]:
            return str(spec[key])
    return "default"


def is_labelled(document: Object) -> bool:
    """Say whether a decoded object has the label that asks for identities; nothing of it has been checked."""
    return object_or_empty(document.get("metadata"), "labels").get(USE) == "true"
