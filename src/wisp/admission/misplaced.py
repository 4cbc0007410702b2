"""Decides what to say about labels and annotations of this project that are not on a pod or a template of pods.

`wisp inject` reports them: as an error where the pods will carry the label, so that they ask for an identity that
cannot be injected; as a warning where the label or annotation has no effect.
"""

from collections.abc import Iterator
from typing import NamedTuple

from wisp.admission.keys import check_texts, concerns, declines, home_of, meaning, text_map
from wisp.admission.names import USE
from wisp.admission.shape import PodError
from wisp.admission.workloads import Carrier, Owner, Place, carrier_at, places

_COPIED: dict[str, frozenset[str]] = {
    "kafka.strimzi.io": frozenset({"Kafka", "KafkaBridge", "KafkaConnect", "KafkaMirrorMaker2"}),
    "kubeflow.org": frozenset({"Notebook"}),
    "kubevirt.io": frozenset({"VirtualMachineInstance"}),
    "serving.knative.dev": frozenset({"Revision"}),
    "serving.kserve.io": frozenset({"InferenceService"}),
    "tekton.dev": frozenset({"ClusterTask", "Pipeline", "PipelineRun", "Task", "TaskRun"}),
}
"""Kinds by API group whose controllers copy the labels of the object itself to its pods."""
_WEBHOOK = "leave this object to the webhook, which changes the pods that are made of it, and give wisp inject the rest"


class Finding(NamedTuple):
    """Something to say about a part of a document."""

    owner: Owner
    path: str
    """Where the label or annotation is, as a JSON pointer to the map that holds it."""
    problem: str
    remedy: str
    is_error: bool


class _Context(NamedTuple):
    """What a finding depends on besides its place."""

    templates: list[Carrier]
    """Those of the same object."""
    every: bool
    """Whether templates without the label are injected, too."""

    @property
    def is_served(self) -> bool:
        """Whether one of the object's templates is injected."""
        return any(self.every or each.is_labelled for each in self.templates)


def findings(document: object, *, every: bool = False) -> Iterator[Finding]:
    """Yield what is to say about the labels and annotations in a document, its pods and their templates left out."""
    found = list(places(document))
    templates: dict[str, list[Carrier]] = {}
    for each in found:
        if each.is_template:
            templates.setdefault(each.owner.path, []).append(carrier_at(each))
    metadata_of_pods = {f"{each.path}/metadata" for each in found if each.is_template}
    for place in found:
        if place.path.rpartition("/")[0] not in metadata_of_pods and any(map(_concerns, place.content)):
            yield from _of_place(place, _Context(templates.get(place.owner.path, []), every))


def _concerns(key: object) -> bool:
    return type(key) is str and concerns(key)


def _of_place(place: Place, context: _Context) -> Iterator[Finding]:
    parent, _, name = place.path.rpartition("/")
    is_own = parent == f"{place.owner.path}/metadata"
    if any(step.lower().endswith("selector") or step == "matchLabels" for step in place.path.split("/")):
        yield from _of_selector(place, context)
    elif (wrong := _wrong_type(place)) is not None:
        yield wrong
    elif is_own and place.owner.kind == "ServiceAccount":
        return  # what is wrong with it is said of the pods that run as it
    elif name.lower().endswith("annotations"):
        yield from _of_annotations(place, context, is_own=is_own)
    elif name.lower().endswith("labels"):
        yield from _of_labels(place, context, is_own=is_own)
    elif USE in place.content:
        yield from _of_use(place, context, is_own=False)


def _of_selector(place: Place, context: _Context) -> Iterator[Finding]:
    """Selectors ask for nothing; that of an object whose own pods have no label is a mistake all the same."""
    if USE in place.content and not place.is_in_pod and context.templates and not context.is_served:
        yield _no_effect(place, context, f"the label {USE} in a selector has no effect on the pods")


def _of_labels(place: Place, context: _Context, *, is_own: bool) -> Iterator[Finding]:
    if USE in place.content:
        yield from _of_use(place, context, is_own=is_own)
    for key in filter(_concerns, place.content):
        if key != USE:
            yield _warning(place, f"the label {key} has no effect here", _advice(key, context))


def _of_use(place: Place, context: _Context, *, is_own: bool) -> Iterator[Finding]:
    value, owner = place.content[USE], place.owner
    if declines(value) or (context.is_served and (is_own or place.is_in_pod or not owner.is_custom)):
        return
    elif owner.is_policy:
        yield _warning(
            place, f"a {owner.kind} describes other objects: nothing in it is injected", "inject those objects"
        )
    elif owner.kind in ("Kustomization", "Component") and owner.group == "kustomize.config.k8s.io":
        remedy = "inject what it makes: kustomize build DIRECTORY | wisp inject -f -"
        yield _warning(place, f"the label {USE} is for the objects that Kustomize makes", remedy)
    elif value != "true":
        yield _warning(place, f'the label {USE} is "{value}": only "true" counts', f'write "true", or remove {USE}')
    elif _asks(place, is_own=is_own):
        yield _cannot(place, is_own=is_own)
    else:
        yield _no_effect(place, context, f"the label {USE} has no effect here")


def _asks(place: Place, *, is_own: bool) -> bool:
    """Say whether pods come to carry a label of this place, as far as can be known."""
    owner = place.owner
    if place.is_in_pod or place.path == f"{owner.path}/labels":  # OpenShift's Template labels the objects in it
        return False
    if is_own:
        return owner.kind == "Pod" or owner.kind in _COPIED.get(owner.group, ())
    return owner.is_custom or place.path.endswith("/template/metadata/labels")


def _cannot(place: Place, *, is_own: bool) -> Finding:
    owner = place.owner
    around = place.path.removesuffix("/metadata/labels")
    if owner.kind == "Pod" or (place.path != around and not owner.is_custom):
        problem = f"the label {USE} asks for an identity, but there is no list {around}/spec/containers"
        return Finding(owner, place.path, problem, "give the pod its containers", is_error=True)
    if is_own:
        problem = f"pods get the label {USE} from the {owner.kind}, which has no template of pods to inject into"
    else:
        problem = f"the label {USE} asks for an identity, but it is on no template of pods with containers"
    return Finding(owner, place.path, problem, _WEBHOOK, is_error=True)


def _of_annotations(place: Place, context: _Context, *, is_own: bool) -> Iterator[Finding]:
    """Find annotations without effect; controllers may well put others than their object's own on pods."""
    owner = place.owner
    lost = owner.kind not in _COPIED.get(owner.group, ()) and (is_own or not owner.is_custom)
    for key in filter(_concerns, place.content):
        if meaning(key) == USE:
            yield _warning(place, f"the annotation {key} has no effect: it is a label", _advice(USE, context))
        elif lost and not _is_on_pods(key, context):
            yield _warning(place, f"the annotation {key} has no effect here", _advice(key, context))


def _is_on_pods(key: str, context: _Context) -> bool:
    """Say whether an object's templates have the annotation as well, as charts write it that annotate everything."""
    return any(key in text_map(each.pod.get("metadata"), "annotations") for each in context.templates)


def _wrong_type(place: Place) -> Finding | None:
    try:
        check_texts(place.content, place.path)
    except PodError as error:
        return Finding(place.owner, place.path, error.problem, error.remedy, is_error=True)
    return None


def _no_effect(place: Place, context: _Context, problem: str) -> Finding:
    return _warning(place, problem, _advice(USE, context))


def _warning(place: Place, problem: str, remedy: str) -> Finding:
    return Finding(place.owner, place.path, problem, remedy, is_error=False)


def _advice(key: str, context: _Context) -> str:
    """Return where a label or annotation belongs."""
    meant = meaning(key)
    if meant is None:
        return "remove it, for it is unknown everywhere"
    kind = "labels" if meant == USE else "annotations"
    if meant != USE and home_of(meant) == "service account":
        return f"put {meant} under the annotations of the service account"
    if not context.templates:
        return f"put {meant} under the {kind} of the pods"
    return f"put {meant} under {context.templates[0].path}/metadata/{kind}"
