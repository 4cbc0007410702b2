"""Finds the pods and templates of pods in manifests, plans their mutation, and finds labels that miss them.

A template is recognised by its structure, in objects of any kind: a `spec` with a list of `containers`, and no kind of
its own except Pod.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from wisp.admission.annotations import (
    INJECT_SIDECAR,
    USE,
    annotated_object,
    check_strings,
    is_declined,
    is_labelled,
    is_related,
    known_key,
    object_in,
    object_or_empty,
    requests_sidecar,
    strings_in,
)
from wisp.admission.mutate import Mutation, plan_mutation
from wisp.admission.patch import Operation, escape
from wisp.admission.pod import account_name, read_decoded
from wisp.admission.policy import Policy
from wisp.admission.types import Object, PodError

_KNATIVE = "serving.knative.dev"
_ACCOUNT_OUTSIDE = frozenset({"flink.apache.org", "sparkoperator.k8s.io"})
"""API groups whose objects name the pods' service account next to or above the template, as `serviceAccount`."""
_POLICIES = frozenset({"apiextensions.k8s.io", "kyverno.io", "policies.kyverno.io"})
"""API groups whose objects describe other objects, as patterns and schemas."""
_KUBERNETES = frozenset(
    (
        *("admissionregistration", "apiextensions", "apiregistration", "certificates", "coordination", "discovery"),
        *("events", "flowcontrol.apiserver", "networking", "node", "rbac.authorization", "resource", "scheduling"),
        "storage",
    )
)
"""API groups of Kubernetes itself that end in .k8s.io; the others belong to projects of its community."""
_NOT_CONFIGURATION = frozenset({"managedFields", "status"})
"""Members that the cluster writes into objects."""
_RECORDS = frozenset({"ControllerRevision"})
"""Objects that only the cluster writes."""
_COPIED: dict[str, frozenset[str]] = {
    "kafka.strimzi.io": frozenset({"Kafka", "KafkaBridge", "KafkaConnect", "KafkaMirrorMaker2"}),
    "kubeflow.org": frozenset({"Notebook"}),
    "kubevirt.io": frozenset({"VirtualMachineInstance"}),
    "serving.knative.dev": frozenset({"Revision"}),
    "serving.kserve.io": frozenset({"InferenceService"}),
    "tekton.dev": frozenset({"ClusterTask", "Pipeline", "PipelineRun", "Task", "TaskRun"}),
}
"""Kinds by API group whose controllers copy the object's own labels to its pods."""


class Owner(NamedTuple):
    """The Kubernetes object that a part of a document belongs to: the innermost one, if they are nested."""

    path: str
    """Where it is in the document, as a JSON pointer."""
    kind: str = ""
    group: str = ""
    """Its API group; empty for the core group."""
    namespace: str = ""
    """Empty if none is given."""
    name: str = ""

    @property
    def title(self) -> str:
        """Its kind and name, for messages."""
        return f'{self.kind or "object"} "{self.name}"'

    @property
    def is_custom(self) -> bool:
        """Whether its kind is not one of Kubernetes' own, so that its fields are unknown."""
        return not self.kind or ("." in self.group and self.group.removesuffix(".k8s.io") not in _KUBERNETES)


class Template(NamedTuple):
    """A pod, or a template of pods."""

    owner: Owner
    path: str
    """Where in the document it is, as a JSON pointer; empty for a document that is a pod."""
    pod: Object
    account: str
    """The name of the service account that the pods run as."""

    @property
    def is_labelled(self) -> bool:
        """Whether the pods ask for their identity."""
        return is_labelled(self.pod)


class _Node(NamedTuple):
    """A JSON object anywhere in a document."""

    owner: Owner
    path: str
    content: Object
    account: str
    """The service account named outside of the templates here; empty if there is none."""
    is_in_pod: bool
    """Whether it is part of a pod's spec."""

    @property
    def template(self) -> Template | None:
        """The pod or template of pods that it is, if any."""
        spec = object_or_empty(self.content, "spec")
        if self.is_in_pod or self.owner.group in _POLICIES or type(spec.get("containers")) is not list:
            return None
        kind = self.owner.kind if self.path == self.owner.path else self.content.get("kind")
        if kind not in ("Pod", "", None):
            return None
        names_account = any(spec.get(key) for key in ("serviceAccountName", "serviceAccount"))
        account = self.account if self.account and not names_account else account_name(spec)
        return Template(self.owner, self.path, self.content, account)


def _nodes(document: object) -> Iterator[_Node]:
    """Yield every JSON object in a document, in its order, except for what the cluster has written into it.

    The document is finite and no deeper than `wisp.cli.manifests` allows.
    """
    pending: list[tuple[Any, str, Owner, str, bool]] = [(document, "", Owner(""), "", False)]
    while pending:
        value, path, owner, account, in_pod = pending.pop()
        members: list[tuple[Any, str, Owner, str, bool]] = []
        if type(value) is dict:
            if not in_pod and _is_object(value, path, owner):
                owner = _owner(value, path, owner)
            if owner.group in _ACCOUNT_OUTSIDE and type(value.get("serviceAccount")) is str:
                account = value["serviceAccount"]
            if owner.kind in _RECORDS:
                continue
            node = _Node(owner, path, value, account, in_pod)
            yield node
            is_template = node.template is not None
            is_root = path in (owner.path, f"{owner.path}/metadata")
            members = [
                (member, f"{path}/{escape(str(key))}", owner, account, in_pod or (is_template and key == "spec"))
                for key, member in value.items()
                if type(member) in (dict, list) and not (is_root and key in _NOT_CONFIGURATION)
            ]
        elif type(value) is list:
            members = [(item, f"{path}/{index}", owner, account, in_pod) for index, item in enumerate(value)]
        pending += reversed(members)


def _is_object(value: Object, path: str, owner: Owner) -> bool:
    """Check whether a part of a document is a Kubernetes object, not a part of one or a reference to one."""
    if path == "" or (type(value.get("kind")) is str and type(value.get("metadata")) is dict):
        return True
    return owner.kind.endswith("List") and path.rpartition("/")[0] == f"{owner.path}/items"


def _owner(value: Object, path: str, around: Owner) -> Owner:
    kind, version, metadata = value.get("kind"), value.get("apiVersion"), object_or_empty(value, "metadata")
    is_list = around.kind.endswith("List")
    if type(kind) is not str:  # as in the lists that the API itself returns
        kind, version = (around.kind.removesuffix("List"), f"{around.group}/") if is_list else ("", version)
    namespace, name = metadata.get("namespace"), metadata.get("name") or metadata.get("generateName")
    if not namespace and not is_list and around.kind != "Template":
        namespace = around.namespace  # the pods of an object are created in its namespace
    return Owner(
        path,
        kind,
        version.rpartition("/")[0] if type(version) is str else "",
        namespace if type(namespace) is str else "",
        name if type(name) is str else "",
    )


def find_templates(document: object) -> Iterator[Template]:
    """Yield the pods and templates of pods in a document."""
    return (template for node in _nodes(document) if (template := node.template) is not None)


def find_accounts(document: object) -> Iterator[tuple[Owner, Object]]:
    """Yield the service accounts in a document."""
    for node in _nodes(document):
        if node.owner.kind == "ServiceAccount" and node.path == node.owner.path:
            yield node.owner, node.content


def plan_template(template: Template, account: Object, policy: Policy) -> Mutation:
    """Decide how the document that contains `template` changes. Raise PodError."""
    pod, owner, metadata = template.pod, template.owner, object_in(template.pod, "metadata")
    if owner.group == _KNATIVE and requests_sidecar(strings_in(metadata, "annotations", "/metadata")):
        raise PodError(
            "Knative Serving rejects the sidecar: init containers are off by default, and it allows neither lifecycle "
            "hooks nor a second port",
            hint="leave this object to the webhook, which changes the pods that Knative creates from it, "
            f"or remove the annotation {INJECT_SIDECAR}",
        )
    if owner.path != template.path or owner.kind not in ("", "Pod"):
        # Controllers name pods `<name>-<something>`: this is as close as possible to what the webhook would see.
        pod = {**pod, "metadata": {"generateName": f"{owner.name}-", **metadata}}
    mutation = plan_mutation(read_decoded(pod), account, policy)

    def relocated(operation: Operation) -> Operation:
        moved: Any = {**operation, "path": template.path + operation["path"]}
        if "from" in moved:
            moved["from"] = template.path + moved["from"]
        return moved  # type: ignore[no-any-return]  # as in `patch.move`

    return Mutation(tuple(map(relocated, mutation.operations)), mutation.warnings)


# Labels and annotations of this project that are not on a pod or a template: an error if the pods will carry the label,
# so that they ask for an identity that cannot be injected; a warning if the label or annotation has no effect.

_WEBHOOK = "leave this object to the webhook, which changes the pods made from it, and give wisp inject the rest"


class Finding(NamedTuple):
    """A misplaced label or annotation in a document."""

    owner: Owner
    path: str
    """Where the label or annotation is, as a JSON pointer to the map that holds it."""
    problem: str
    hint: str
    is_error: bool


def find_misplaced(document: object, *, inject_all: bool = False) -> Iterator[Finding]:
    """Yield findings about labels and annotations outside of pods and templates.

    With `inject_all`, templates without the label are injected, too.
    """
    nodes = list(_nodes(document))
    templates: dict[str, list[Template]] = {}
    checked = set()
    for node in nodes:
        template = node.template
        if template is not None:
            checked |= {f"{node.path}/metadata/{kind}" for kind in ("labels", "annotations")}
            for path in accumulate(node.path.split("/"), "{}/{}".format):
                templates.setdefault(path, []).append(template)
    for node in nodes:
        if node.path not in checked and (any(map(is_related, node.content)) or _is_in_text(node.content)):
            yield from _Misplaced(node, templates, inject_all).findings()


def _is_in_text(content: Object) -> bool:
    """Check whether a program's settings ask for the label on pods: in a key (Spark) or in a list of labels (Flink)."""
    return any(
        key.endswith(f".{USE}") if value == "true" else (key.endswith("labels") and f"{USE}:true" in value)
        for key, value in content.items()
        if type(value) is str
    )


class _Misplaced:
    """A map with labels or annotations of this project, and the templates around it."""

    def __init__(self, node: _Node, templates: dict[str, list[Template]], inject_all: bool) -> None:  # noqa: FBT001 -- private
        self.node, self.owner, self.content = node, node.owner, node.content
        parent, _, name = node.path.rpartition("/")
        self.name = name.lower()
        self.inject_all = inject_all
        self.metadata_of = parent.removesuffix("/metadata") if parent.endswith("/metadata") else None
        """The path of the value that this is the metadata of; None for a map outside of metadata."""
        self.is_own = self.metadata_of == self.owner.path
        """Whether it is the metadata of the object itself."""
        self.templates = templates.get(self.owner.path, [])
        """The templates in the same object."""
        self.below = [] if self.metadata_of is None else templates.get(self.metadata_of, [])
        """The templates in the value that this is the metadata of, such as a Deployment."""
        self.is_copied = self.is_own and self.owner.kind in _COPIED.get(self.owner.group, ())
        """Whether the object's controller copies this to its pods."""

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with the labels or annotations in this map."""
        steps = self.node.path.lower().split("/")
        try:
            check_strings(self.content, self.node.path)
        except PodError as error:
            yield self._finding(error.problem, error.hint, is_error=True)
            return
        if any(step.endswith("selector") or step == "matchlabels" for step in steps):
            # Selectors ask for nothing, but that of an object whose own pods have no label is a mistake.
            if USE in self.content and not self.node.is_in_pod and self.templates and not self._any(self.templates):
                yield self._finding(f"the label {USE} in a selector has no effect on the pods", self._place_of(USE))
        elif _is_in_text(self.content) and not self.name.endswith(("labels", "annotations")):
            if not self._any(self.templates):
                yield self._not_injected()
        elif any("serviceaccount" in step for step in steps) or (self.is_own and self.owner.kind == "ServiceAccount"):
            pass  # mistakes in a service account are reported for the pods that run as it
        else:
            yield from self._annotations() if self.name.endswith("annotations") else self._labels()

    def _labels(self) -> Iterator[Finding]:
        if USE in self.content:
            yield from self._label()
        for key in filter(is_related, self.content if self.name.endswith("labels") else ()):
            if key != USE:
                yield self._finding(f"the label {key} has no effect here", self._place_of(key))

    def _finding(self, problem: str, hint: str, *, is_error: bool = False) -> Finding:
        return Finding(self.owner, self.node.path, problem, hint, is_error)

    def _any(self, templates: list[Template]) -> bool:
        """Check whether one of these templates is injected."""
        return any(self.inject_all or template.is_labelled for template in templates)

    def _label(self) -> Iterator[Finding]:
        owner, value = self.owner, self.content[USE]
        # The label is right here, too, if the pods have it as well.
        redundant = self.templates if self.node.is_in_pod or not owner.is_custom else self.below
        if is_declined(value) or self._any(redundant):
            return
        if owner.group in _POLICIES:
            problem = f"a {owner.kind} describes other objects: nothing in it is injected"
            yield self._finding(problem, "inject the objects themselves")
        elif owner.group == "kustomize.config.k8s.io":
            hint = "inject what it makes: kustomize build DIRECTORY | wisp inject -f -"
            yield self._finding(f"the label {USE} is for the objects that Kustomize makes", hint)
        elif value != "true":
            yield self._finding(f'the label {USE} is "{value}": only "true" counts', f'write "true", or remove {USE}')
        elif self._reaches_pods():
            yield self._not_injected()
        elif self.is_own and owner.is_custom and not self.below:
            problem = f"the label {USE} is not on a pod, and there is no template of pods in this object"
            yield self._finding(problem, "if its pods get the label, the webhook injects them")
        else:
            yield self._finding(f"the label {USE} has no effect here", self._place_of(USE))

    def _reaches_pods(self) -> bool:
        """Check whether pods will carry a label of this map, as far as can be known."""
        path = self.node.path
        if self.is_own:
            return self.is_copied or (self.owner.kind == "Pod" and not self.below)
        if self.node.is_in_pod or self.below or path == f"{self.owner.path}/labels":
            return False  # the last is OpenShift's: a Template labels the objects in it
        return self.owner.is_custom or path.endswith("/template/metadata/labels")

    def _not_injected(self) -> Finding:
        owner, around = self.owner, self.metadata_of
        if around is not None and (owner.kind == "Pod" or not owner.is_custom):
            problem = f"the label {USE} asks for an identity, but there is no list {around}/spec/containers"
            return self._finding(problem, "add the pod's containers", is_error=True)
        problem = f"the label {USE} asks for an identity, but there is no pod template with containers to inject into"
        if self.is_copied:
            problem = f"pods get the label {USE} from the {owner.kind}, which has no labelled template to inject into"
        return self._finding(problem, _WEBHOOK, is_error=True)

    def _annotations(self) -> Iterator[Finding]:
        """Yield annotations without effect; controllers may copy others than their object's own to pods."""
        is_lost = not self.is_copied and (self.is_own or bool(self.below) or not self.owner.is_custom)
        for key in filter(is_related, self.content):
            # Charts that annotate everything have the annotation on the templates as well.
            on_pods = any(
                key in object_or_empty(template.pod.get("metadata"), "annotations") for template in self.templates
            )
            if known_key(key) == USE:
                problem = f"the annotation {key} has no effect: it is a label"
                yield self._finding(problem, self._place_of(USE))
            elif is_lost and not on_pods:
                yield self._finding(f"the annotation {key} has no effect here", self._place_of(key))

    def _place_of(self, key: str) -> str:
        """Return where a label or annotation belongs, as a hint."""
        known = known_key(key)
        if known is None:
            return "remove it: the key is unknown"
        kind = "labels" if known == USE else "annotations"
        if known != USE and annotated_object(known) == "service account":
            return f"put {known} under the annotations of the service account"
        templates = self.below or self.templates
        where = f"{templates[0].path}/metadata/{kind}" if templates else f"the {kind} of the pods"
        return f"put {known} under {where}"
