"""Decides how an admission review is answered: with a patch and warnings, or with a refusal. Knows no server.

Works on plain decoded JSON. A review's way: `read`, `account_of`, `decide` with the account, `answer`.
Source: admission.k8s.io/v1, AdmissionReview.
"""

from binascii import b2a_base64
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, assert_never

import msgspec

from wisp.admission.advice import advice_unlabelled
from wisp.admission.contract import Policy
from wisp.admission.mutate import mutation
from wisp.admission.names import MIRROR
from wisp.admission.patch import Operation
from wisp.admission.pod import account_name, is_labelled
from wisp.admission.shape import Object, PodError, object_or_empty
from wisp.errors import WispError

API_VERSION = "admission.k8s.io/v1"


class ReviewError(WispError):
    """What was sent is no admission review that can be answered."""


class AccountRef(NamedTuple):
    """The service account that a pod runs as."""

    namespace: str
    name: str


class Review(NamedTuple):
    """What the API server asks: whether `pod` may be made, and changed how."""

    uid: str
    namespace: str
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    subresource: str
    pod: Object
    """As it was sent: nothing of it has been looked at."""


@dataclass(frozen=True, slots=True)
class Admit:
    """The pod may be made, with this RFC 6902 patch (empty: as it is); kubectl prints the warnings."""

    patch: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod may not be made; `message` is for whoever tried."""

    code: int
    """An HTTP status, as in a Kubernetes Status."""
    message: str


Decision: TypeAlias = Admit | Refuse


def read(document: object) -> Review:
    """Return the review in a decoded AdmissionReview. Raise ReviewError where that is none, or not about a pod."""
    if type(document) is not dict or document.get("kind") != "AdmissionReview":
        raise ReviewError("the body is no AdmissionReview", remedy="send what a MutatingWebhookConfiguration sends")
    if document.get("apiVersion") != API_VERSION:
        raise ReviewError(
            f"the AdmissionReview's version is {_said(document.get('apiVersion'))}",
            remedy=f"have admissionReviewVersions say v1, which is {API_VERSION}",
        )
    request = document.get("request")
    if type(request) is not dict or type(request.get("uid")) is not str or not request["uid"]:
        raise ReviewError("the AdmissionReview holds no request with a uid", remedy="send one")
    return _review(request)


def _review(request: Object) -> Review:
    kind = request.get("kind")
    if type(kind) is not dict or (kind.get("group") or "", kind.get("version"), kind.get("kind")) != ("", "v1", "Pod"):
        raise ReviewError(
            f"the AdmissionReview is not about a v1 Pod but {_said(kind)}", remedy="have the rules say pods, v1"
        )
    pod, namespace = request.get("object"), request.get("namespace")
    if type(pod) is not dict:  # as of a DELETE, which has an oldObject only
        pod = {}
    # Without an operation it is no valid review; of its two readings, this one lets no pod by without its identity.
    operation, subresource = _text(request.get("operation")) or "CREATE", request.get("subResource")
    return Review(request["uid"], _text(namespace), operation, _text(subresource), pod)


def _text(value: object) -> str:
    return value if type(value) is str else ""


def _said(value: object) -> str:
    return repr(value)[:100]


def account_wanted(review: Review) -> AccountRef | None:
    """Return the service account whose annotations decide about the pod; None where nothing is to be put in.

    That is: the pod has not the label, is not being made, or is no pod at all (`decide` says so).
    """
    return account_of(review) if is_labelled(review.pod) else None


def account_of(review: Review) -> AccountRef | None:
    """Return the service account that a pod runs as, labelled or not; None where no pod is being made.

    Of a pod without the label it is worth knowing, for a warning, but not worth waiting for.
    """
    if review.operation != "CREATE" or review.subresource or _is_mirror(review.pod):
        return None
    return AccountRef(review.namespace, account_name(object_or_empty(review.pod, "spec")))


def _is_mirror(pod: Object) -> bool:
    """Say whether it only shows a static pod, which is made already.

    API servers refuse one with a service account token in it, and the static pod could not be seen.
    """
    return MIRROR in object_or_empty(pod.get("metadata"), "annotations")


def decide(review: Review, account: Object | None, policy: Policy) -> Decision:
    """Decide about a review. `account` is the ServiceAccount that `account_of` names; None: there is none."""
    wanted = account_wanted(review)
    if wanted is None:
        return Admit(warnings=() if account_of(review) is None else advice_unlabelled(review.pod, account or {}))
    if account is None:
        return Refuse(
            400,
            f'serviceaccounts "{wanted.name}" not found in namespace "{wanted.namespace}": '
            "make it before the pod, or correct the pod's serviceAccountName",
        )
    try:
        done = mutation(review.pod, account, policy)
    except PodError as error:
        return Refuse(400, str(error))
    return Admit(done.operations, done.warnings)


def answer(review: Review, decision: Decision) -> dict[str, Any]:
    """Return the AdmissionReview that answers `review`."""
    response: Object = {"uid": review.uid}
    match decision:
        case Admit():
            response["allowed"] = True
            if decision.patch:
                response["patchType"] = "JSONPatch"
                response["patch"] = b2a_base64(msgspec.json.encode(decision.patch), newline=False).decode("ascii")
            if decision.warnings:
                response["warnings"] = list(decision.warnings)
        case Refuse():
            response["allowed"] = False
            response["status"] = {"code": decision.code, "message": decision.message}
        case _:
            assert_never(decision)
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
