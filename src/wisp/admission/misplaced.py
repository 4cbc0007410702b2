"""Decides what to say about labels and annotations of this project that are not on a pod or a template of pods.

`wisp inject` reports them: as an error where the pods will carry the label, so that they ask for an identity that
cannot be injected; as a warning where the label or annotation has no effect.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from wisp.admission.keys import check_texts, concerns, declines, home_of, meaning
from wisp.admission.names import USE
from wisp.admission.shape import Object, PodError, object_or_empty
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
    hint: str
    is_error: bool


class _Subject(NamedTuple):
    """A place with labels or annotations of this project, and the pods and templates around it."""

    place: Place
    inside: dict[str, list[Carrier]]
    """The pods and templates of the document, by every path that leads to them."""
    every: bool
    """Whether templates without the label are injected, too."""

    @property
    def name(self) -> str:
        """The name of the map in what holds it, such as `podLabels`."""
        return self.place.path.rpartition("/")[2].lower()

    @property
    def metadata_of(self) -> str | None:
        """The path of what this is the metadata of; None for a map outside of metadata."""
        parent = self.place.path.rpartition("/")[0]
        return parent.removesuffix("/metadata") if parent.endswith("/metadata") else None

    @property
    def is_own(self) -> bool:
        """Whether it is the metadata of the object itself."""
        return self.metadata_of == self.place.owner.path

    @property
    def templates(self) -> list[Carrier]:
        """The pods and templates in the same object."""
        return self.inside.get(self.place.owner.path, [])

    @property
    def below(self) -> list[Carrier]:
        """The pods and templates in what this is the metadata of, such as a Deployment."""
        return [] if self.metadata_of is None else self.inside.get(self.metadata_of, [])

    @property
    def is_copied(self) -> bool:
        """Whether the controller of the object is known to copy this to its pods."""
        return self.is_own and self.place.owner.kind in _COPIED.get(self.place.owner.group, ())

    def serves(self, templates: list[Carrier]) -> bool:
        """Say whether one of these templates is injected."""
        return any(self.every or each.is_labelled for each in templates)

    def warning(self, problem: str, hint: str) -> Finding:
        """Return a finding about something without effect."""
        return Finding(self.place.owner, self.place.path, problem, hint, is_error=False)

    def error(self, problem: str, hint: str) -> Finding:
        """Return a finding about something that is asked for and cannot be done."""
        return Finding(self.place.owner, self.place.path, problem, hint, is_error=True)


def findings(document: object, *, every: bool = False) -> Iterator[Finding]:
    """Yield what is to say about the labels and annotations in a document, its pods and their templates left out."""
    found = list(places(document))
    inside: dict[str, list[Carrier]] = {}
    for each in found:
        if each.is_template:
            carrier = carrier_at(each)
            for path in accumulate(each.path.split("/"), "{}/{}".format):
                inside.setdefault(path, []).append(carrier)
    of_pods = {f"{each.path}/metadata/{key}" for each in found if each.is_template for key in ("labels", "annotations")}
    for place in found:
        if place.path not in of_pods and (any(map(concerns, place.content)) or _in_text(place.content)):
            yield from _of_place(_Subject(place, inside, every))


def _of_place(subject: _Subject) -> Iterator[Finding]:
    place = subject.place
    steps = place.path.lower().split("/")
    wrong = _wrong_type(place)
    if wrong is not None:
        yield subject.error(wrong.problem, wrong.hint)
    elif any(each.endswith("selector") or each == "matchlabels" for each in steps):
        yield from _of_selector(subject)
    elif _in_text(place.content) and not subject.name.endswith(("labels", "annotations")):
        if not subject.serves(subject.templates):
            yield _unserved(subject)
    elif any("serviceaccount" in each for each in steps) or (subject.is_own and place.owner.kind == "ServiceAccount"):
        return  # what is wrong with a service account is said of the pods that run as it
    elif subject.name.endswith("annotations"):
        yield from _of_annotations(subject)
    else:
        if USE in place.content:
            yield from _of_use(subject)
        if subject.name.endswith("labels"):
            yield from _of_other_labels(subject)


def _in_text(content: Object) -> bool:
    """Say whether settings of a program ask for the label on pods: Spark has it in a key, Flink in a list of labels."""
    return any(
        key.endswith(f".{USE}") if value == "true" else (key.endswith("labels") and f"{USE}:true" in value)
        for key, value in content.items()
        if type(value) is str
    )


def _wrong_type(place: Place) -> PodError | None:
    try:
        check_texts(place.content, place.path)
    except PodError as error:
        return error
    return None


def _of_selector(subject: _Subject) -> Iterator[Finding]:
    """Selectors ask for nothing; that of an object whose own pods have no label is a mistake all the same."""
    templates, place = subject.templates, subject.place
    if USE in place.content and not place.is_in_pod and templates and not subject.serves(templates):
        yield subject.warning(f"the label {USE} in a selector has no effect on the pods", _advice(USE, subject))


def _of_other_labels(subject: _Subject) -> Iterator[Finding]:
    for key in filter(concerns, subject.place.content):
        if key != USE:
            yield subject.warning(f"the label {key} has no effect here", _advice(key, subject))


def _of_use(subject: _Subject) -> Iterator[Finding]:
    owner, value = subject.place.owner, subject.place.content[USE]
    if declines(value) or _is_needless(subject):
        return
    if owner.is_policy:
        problem = f"a {owner.kind} describes other objects: nothing in it is injected"
        yield subject.warning(problem, "inject the objects themselves")
    elif owner.group == "kustomize.config.k8s.io":
        hint = "inject what it makes: kustomize build DIRECTORY | wisp inject -f -"
        yield subject.warning(f"the label {USE} is for the objects that Kustomize makes", hint)
    elif value != "true":
        yield subject.warning(f'the label {USE} is "{value}": only "true" counts', f'write "true", or remove {USE}')
    elif _is_asking(subject):
        yield _unserved(subject)
    elif subject.is_own and owner.is_custom and not subject.below:
        problem = f"the label {USE} is not on a pod, and there is no template of pods in this object"
        yield subject.warning(problem, "if its pods get the label, the webhook injects them")
    else:
        yield subject.warning(f"the label {USE} has no effect here", _advice(USE, subject))


def _is_needless(subject: _Subject) -> bool:
    """Say whether the pods have the label as well, so that it is right to have it here too."""
    if subject.place.is_in_pod or not subject.place.owner.is_custom:
        return subject.serves(subject.templates)
    return subject.serves(subject.below)


def _is_asking(subject: _Subject) -> bool:
    """Say whether pods come to carry a label of this place, as far as can be known."""
    place = subject.place
    if subject.is_own:
        return subject.is_copied or (place.owner.kind == "Pod" and not subject.below)
    if place.is_in_pod or subject.below or place.path == f"{place.owner.path}/labels":
        return False  # the last are OpenShift's: a Template labels the objects in it
    return place.owner.is_custom or place.path.endswith("/template/metadata/labels")


def _unserved(subject: _Subject) -> Finding:
    owner, around = subject.place.owner, subject.metadata_of
    if around is not None and (owner.kind == "Pod" or not owner.is_custom):
        problem = f"the label {USE} asks for an identity, but there is no list {around}/spec/containers"
        return subject.error(problem, "give the pod its containers")
    if subject.is_copied:
        problem = f"pods get the label {USE} from the {owner.kind}, which has no labelled template to inject into"
    else:
        problem = f"the label {USE} asks for an identity, but there is no pod template with containers to inject into"
    return subject.error(problem, _WEBHOOK)


def _of_annotations(subject: _Subject) -> Iterator[Finding]:
    """Find annotations without effect; controllers may well put others than their object's own on pods."""
    lost = not subject.is_copied and (subject.is_own or bool(subject.below) or not subject.place.owner.is_custom)
    for key in filter(concerns, subject.place.content):
        if meaning(key) == USE:
            yield subject.warning(f"the annotation {key} has no effect: it is a label", _advice(USE, subject))
        elif lost and not _is_on_pods(key, subject):
            yield subject.warning(f"the annotation {key} has no effect here", _advice(key, subject))


def _is_on_pods(key: str, subject: _Subject) -> bool:
    """Say whether an object's templates have the annotation as well, as charts write it that annotate everything."""
    return any(key in object_or_empty(each.pod.get("metadata"), "annotations") for each in subject.templates)


def _advice(key: str, subject: _Subject) -> str:
    """Return where a label or annotation belongs."""
    meant = meaning(key)
    if meant is None:
        return "remove it, because no such key is known"
    kind = "labels" if meant == USE else "annotations"
    if meant != USE and home_of(meant) == "service account":
        return f"put {meant} under the annotations of the service account"
    templates = subject.below or subject.templates
    where = f"{templates[0].path}/metadata/{kind}" if templates else f"the {kind} of the pods"
    return f"put {meant} under {where}"
