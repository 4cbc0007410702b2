"""A pod's parts, taken apart once; decides nothing. Knows no policy."""

from typing import NamedTuple

from wisp.admission.names import REDIRECT, SIDECAR, USE
from wisp.admission.shape import Object, PodError, object_in, object_or_empty, objects_in, text_in, texts_in
from wisp.admission.windows import is_windows


class Pod(NamedTuple):
    """The parts that admission looks at: the pod's own objects, not copies."""

    name: str
    """Its name, or `<generateName> (prefix)`: what its volume is named after."""
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: Object
    containers: list[Object]
    init_containers: list[Object]
    volumes: list[Object]
    named: dict[str, Object]
    """Containers and init containers by name."""
    own: list[Object]
    """The containers but ours."""
    own_init: list[Object]
    """The init containers but ours."""

    @property
    def measured(self) -> frozenset[str]:
        """The resources that it names for all containers together (Kubernetes, "Pod-level resource specification")."""
        said = object_in(self.spec, "resources", "/spec")
        return frozenset().union(*(object_in(said, kind, "/spec/resources") for kind in ("requests", "limits")))

    @property
    def is_windows(self) -> bool:
        """Whether it runs on Windows, as far as it says so."""
        return is_windows(self.spec)


def account_name(spec: Object) -> str:
    """Return the name of the service account that pods of this spec run as."""
    for key in ("serviceAccountName", "serviceAccount"):  # the second is deprecated, and obeyed
        if type(spec.get(key)) is str and spec[key]:
            return str(spec[key])
    return "default"


def is_labelled(document: Object) -> bool:
    """Say whether an object has the label that asks for identities; nothing of it has been checked."""
    return object_or_empty(document.get("metadata"), "labels").get(USE) == "true"


def pod_of(document: Object) -> Pod:
    """Take a pod, or a pod template, apart. Raise PodError where it is put together wrongly."""
    metadata, spec = object_in(document, "metadata"), object_in(document, "spec")
    if document.get("spec") is None:
        raise PodError("the pod has no spec", remedy="give it one, with its containers")
    containers = objects_in(spec, "containers", "/spec")
    init_containers = objects_in(spec, "initContainers", "/spec")
    return Pod(
        text_in(metadata, "name", "/metadata") or f"{text_in(metadata, 'generateName', '/metadata')} (prefix)",
        texts_in(metadata, "labels", "/metadata"),
        texts_in(metadata, "annotations", "/metadata"),
        spec,
        containers,
        init_containers,
        objects_in(spec, "volumes", "/spec"),
        {text_in(each, "name", "/spec/containers/*"): each for each in (*init_containers, *containers)},
        [each for each in containers if each.get("name") != SIDECAR],
        [each for each in init_containers if each.get("name") not in (SIDECAR, REDIRECT)],
    )
