"""Decides where in a manifest there are pods, or templates of them, and what is done to those. Knows no file.

A template is recognised by where it is, not by its kind: what Argo Rollouts or Knative add works the same.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from wisp.admission.contract import Policy
from wisp.admission.mutate import Mutation, mutation
from wisp.admission.names import USE
from wisp.admission.patch import Operation
from wisp.admission.pod import account_name
from wisp.admission.shape import Object

_WAYS = (("spec", "template"), ("spec", "jobTemplate", "spec", "template"), ("template",))
"""To the template in a Deployment and its like, in a CronJob, and in a PodTemplate."""


class Carrier(NamedTuple):
    """A pod, or something that carries a template of pods."""

    title: str
    """Its kind and name, for messages."""
    path: str
    """Where in the document the pod or template is, as a JSON pointer; empty for a document that is a pod."""
    pod: Object
    namespace: str
    """Empty where nothing is said."""
    name: str

    @property
    def account(self) -> str:
        """The name of the service account that the pods run as."""
        return account_name(self.pod["spec"])

    @property
    def is_labelled(self) -> bool:
        """Whether the pods want their identity."""
        return _member(self.pod, "metadata", "labels").get(USE) == "true"


def carriers(document: object, path: str = "") -> Iterator[Carrier]:
    """Yield what carries pods in a document, a List's items included."""
    if type(document) is not dict:
        return
    items = document.get("items")
    if str(document.get("kind")).endswith("List") and type(items) is list:
        for index, item in enumerate(items):
            yield from carriers(item, f"{path}/items/{index}")
        return
    for way in ((),) if document.get("kind") == "Pod" else _WAYS:
        pod = _member(document, *way)
        if type(_member(pod, "spec").get("containers")) is list:
            yield _carrier(document, pod, path + "".join(f"/{step}" for step in way))
            return


def accounts(document: object) -> Iterator[Object]:
    """Yield the service accounts in a document, a List's items included."""
    if type(document) is not dict:
        return
    items = document.get("items")
    if str(document.get("kind")).endswith("List") and type(items) is list:
        for item in items:
            yield from accounts(item)
    elif document.get("kind") == "ServiceAccount":
        yield document


def identity_of(document: object) -> tuple[str, str]:
    """Return the namespace and the name that an object gives itself, empty where it gives none."""
    metadata = _member(document, "metadata")
    namespace, name = metadata.get("namespace"), metadata.get("name") or metadata.get("generateName")
    return (namespace if type(namespace) is str else ""), (name if type(name) is str else "")


def injected(carrier: Carrier, account: Object, policy: Policy) -> Mutation:
    """Decide what is done to the document that `carrier` is in. Raise PodError."""
    pod = carrier.pod
    if carrier.path.endswith("/template"):
        # Controllers name pods `<name>-<something>`: as its own webhook would see them, as nearly as can be known.
        pod = {**pod, "metadata": {"generateName": f"{carrier.name}-", **_member(pod, "metadata")}}
    done = mutation(pod, account, policy)
    return Mutation(tuple(_within(carrier.path, each) for each in done.operations), done.warnings)


def _within(path: str, operation: Operation) -> Operation:
    moved: Any = {**operation, "path": path + operation["path"]}
    if "from" in moved:
        moved["from"] = path + moved["from"]
    return moved  # type: ignore[no-any-return]  # as in `move`


def _carrier(document: Object, pod: Object, path: str) -> Carrier:
    namespace, name = identity_of(document)
    return Carrier(f'{document.get("kind") or "object"} "{name}"', path, pod, namespace, name)


def _member(document: object, *way: str) -> Object:
    for step in way:
        document = document.get(step) if type(document) is dict else None
    return document if type(document) is dict else {}
