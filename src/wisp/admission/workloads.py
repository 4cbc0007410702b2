"""Decides where in a manifest there are pods, or templates of them, and what is done to those. Knows no file.

A template is recognised by its shape, in objects of any kind: a `spec` with a list of `containers`, and no kind of its
own but Pod.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from wisp.admission.contract import Policy
from wisp.admission.mutate import Mutation, mutation
from wisp.admission.names import INJECT_SIDECAR
from wisp.admission.patch import Operation, escaped
from wisp.admission.pod import account_name, is_labelled, pod_in
from wisp.admission.shape import Object, PodError, object_in, object_or_empty, texts_in
from wisp.admission.wanted import wants_sidecar

_KNATIVE = "serving.knative.dev"
_ACCOUNT_OUTSIDE = frozenset({"flink.apache.org", "sparkoperator.k8s.io"})
"""API groups whose objects name the pods' service account beside or above the template, as `serviceAccount`."""
_POLICIES = frozenset({"apiextensions.k8s.io", "kyverno.io", "policies.kyverno.io"})
"""API groups whose objects describe other objects, as patterns and schemas."""
_KUBERNETES = frozenset(
    {
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "networking",
        "node",
        "rbac.authorization",
        "resource",
        "scheduling",
        "storage",
    }
)
"""API groups of Kubernetes itself that end in .k8s.io; others that do are projects of its community."""
_NOT_CONFIGURATION = frozenset({"managedFields", "status"})
"""What the cluster writes into objects, not their authors."""
_RECORDS = frozenset({"ControllerRevision"})
"""Objects that the cluster alone writes."""


class Owner(NamedTuple):
    """The Kubernetes object that a part of a document belongs to: the innermost one, if they are nested."""

    path: str
    """Where it is in the document, as a JSON pointer."""
    kind: str = ""
    group: str = ""
    """Its API group; empty for the core group."""
    namespace: str = ""
    """Empty where nothing is said."""
    name: str = ""

    @property
    def title(self) -> str:
        """Its kind and name, for messages."""
        return f'{self.kind or "object"} "{self.name}"'

    @property
    def is_custom(self) -> bool:
        """Whether its kind is not one of Kubernetes' own, so that nothing is known about its fields."""
        return not self.kind or ("." in self.group and self.group.removesuffix(".k8s.io") not in _KUBERNETES)

    @property
    def is_policy(self) -> bool:
        """Whether templates in it are patterns, not pods."""
        return self.group in _POLICIES


class Place(NamedTuple):
    """An object in the sense of JSON anywhere in a document."""

    owner: Owner
    path: str
    content: Object
    account: str
    """The service account named outside of the templates here; empty if there is none."""
    is_in_pod: bool
    """Whether it is part of a pod's spec."""

    @property
    def is_template(self) -> bool:
        """Whether it is a pod or a template of pods."""
        containers = object_or_empty(self.content, "spec").get("containers")
        if self.is_in_pod or self.owner.is_policy or type(containers) is not list:
            return False
        kind = self.owner.kind if self.path == self.owner.path else self.content.get("kind")
        return kind in ("Pod", "", None)


class Carrier(NamedTuple):
    """A pod, or a template of pods."""

    owner: Owner
    path: str
    """Where in the document the pod or template is, as a JSON pointer; empty for a document that is a pod."""
    pod: Object
    account: str
    """The name of the service account that the pods run as."""

    @property
    def is_labelled(self) -> bool:
        """Whether the pods ask for their identity."""
        return is_labelled(self.pod)


def places(document: object) -> Iterator[Place]:
    """Yield every JSON object in a document, in its order, but for what the cluster has written into it.

    The document is finite and no deeper than `wisp.cli.manifests` allows.
    """
    pending: list[tuple[Any, str, Owner, str, bool]] = [(document, "", Owner(""), "", False)]
    while pending:
        node, path, owner, account, in_pod = pending.pop()
        if type(node) is dict:
            if not in_pod and _is_object(node, path, owner):
                owner = _owner(node, path, owner)
            if owner.group in _ACCOUNT_OUTSIDE and type(node.get("serviceAccount")) is str:
                account = node["serviceAccount"]
            if owner.kind in _RECORDS:
                continue
            place = Place(owner, path, node, account, in_pod)
            yield place
            members = [
                (value, f"{path}/{escaped(str(key))}", owner, account, in_pod or (place.is_template and key == "spec"))
                for key, value in node.items()
                if type(value) in (dict, list) and not _is_clusters(key, path, owner)
            ]
        elif type(node) is list:
            members = [(value, f"{path}/{index}", owner, account, in_pod) for index, value in enumerate(node)]
        else:
            members = []
        pending += reversed(members)


def _is_clusters(key: object, path: str, owner: Owner) -> bool:
    return key in _NOT_CONFIGURATION and path in (owner.path, f"{owner.path}/metadata")


def _is_object(node: Object, path: str, owner: Owner) -> bool:
    """Say whether a part of a document is a Kubernetes object, not a part or a mention of one."""
    if path == "" or (type(node.get("kind")) is str and type(node.get("metadata")) is dict):
        return True
    return owner.kind.endswith("List") and path.rpartition("/")[0] == f"{owner.path}/items"


def _owner(node: Object, path: str, around: Owner) -> Owner:
    kind, version, metadata = node.get("kind"), node.get("apiVersion"), object_or_empty(node, "metadata")
    is_list = around.kind.endswith("List")
    if type(kind) is not str:  # as in the lists that the API itself answers with
        kind, version = (around.kind.removesuffix("List"), f"{around.group}/") if is_list else ("", version)
    namespace = metadata.get("namespace")
    if not namespace and not is_list and around.kind != "Template":
        namespace = around.namespace  # what an object is made from is made where it is itself
    return Owner(
        path,
        kind,
        version.rpartition("/")[0] if type(version) is str else "",
        namespace if type(namespace) is str else "",
        _name(metadata),
    )


def _name(metadata: dict[str, object]) -> str:
    name = metadata.get("name") or metadata.get("generateName")
    return name if type(name) is str else ""


def carriers(document: object) -> Iterator[Carrier]:
    """Yield the pods and templates of pods in a document."""
    return (carrier_at(each) for each in places(document) if each.is_template)


def carrier_at(place: Place) -> Carrier:
    """Return the pod or template that is at a place."""
    spec = place.content["spec"]
    named = any(spec.get(key) for key in ("serviceAccountName", "serviceAccount"))
    account = place.account if place.account and not named else account_name(spec)
    return Carrier(place.owner, place.path, place.content, account)


def accounts(document: object) -> Iterator[tuple[Owner, Object]]:
    """Yield the service accounts in a document."""
    for each in places(document):
        if each.owner.kind == "ServiceAccount" and each.path == each.owner.path:
            yield each.owner, each.content


def injected(carrier: Carrier, account: Object, policy: Policy) -> Mutation:
    """Decide what is done to the document that `carrier` is in. Raise PodError."""
    pod, metadata = carrier.pod, object_in(carrier.pod, "metadata")
    if carrier.owner.group == _KNATIVE and wants_sidecar(texts_in(metadata, "annotations", "/metadata")):
        raise PodError(
            "Knative Serving rejects the sidecar: init containers are off by default, and it allows neither lifecycle "
            "hooks nor a second port",
            hint="leave this object to the webhook, which changes the pods that Knative makes of it, "
            f"or remove the annotation {INJECT_SIDECAR}",
        )
    if carrier.owner.path != carrier.path or carrier.owner.kind not in ("", "Pod"):
        # Controllers name pods `<name>-<something>`: as its own webhook would see them, as nearly as can be known.
        pod = {**pod, "metadata": {"generateName": f"{carrier.owner.name}-", **metadata}}
    done = mutation(pod_in(pod), account, policy)
    return Mutation(tuple(_within(carrier.path, each) for each in done.operations), done.warnings)


def _within(path: str, operation: Operation) -> Operation:
    moved: Any = {**operation, "path": path + operation["path"]}
    if "from" in moved:
        moved["from"] = path + moved["from"]
    return moved  # type: ignore[no-any-return]  # as in `move`
