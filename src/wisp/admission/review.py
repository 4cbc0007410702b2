"""Decides how an admission review is answered: with a patch and warnings, or with a refusal. Knows no server.

A review's way: `read` from JSON, `account_of`, `decide` with the account, `answer`. Of the JSON, only what decides is
decoded, in the order in which it is needed: the review without its object, then the pod's label and service account,
and the rest of the pod only if it gets its identity. Source: admission.k8s.io/v1, AdmissionReview.
"""

from binascii import b2a_base64
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, assert_never

import msgspec

from wisp.admission import limits
from wisp.admission.advice import advice_unlabelled
from wisp.admission.contract import Policy
from wisp.admission.mutate import mutation
from wisp.admission.pod import Outline, outline_of, pod_of, texts_of
from wisp.admission.shape import ABSENT, Name, Object, PodError
from wisp.base.errors import WispError

API_VERSION = "admission.k8s.io/v1"


class ReviewError(WispError):
    """What was sent is no admission review that can be answered."""


class AccountRef(NamedTuple):
    """The service account that a pod runs as."""

    namespace: str
    name: str


class Review(NamedTuple):
    """What the API server asks: whether a pod may be made, and changed how."""

    uid: str
    namespace: str
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    subresource: str
    object: msgspec.Raw
    """As it was sent."""
    created: Outline | PodError | None
    """The pod that is being created, or what is wrong with it; None where nothing is to be put in, whatever it is."""


class _Kind(msgspec.Struct, gc=False):
    group: Name = None
    version: Name = None
    kind: Name = None


class _Request(msgspec.Struct, gc=False):
    uid: Name = None
    kind: _Kind | None = None
    namespace: Name = None
    operation: Name = None
    subResource: Name = None  # noqa: N815 -- the API's name
    object: msgspec.Raw = ABSENT


class _Envelope(msgspec.Struct, gc=False):
    kind: Name = None
    apiVersion: Name = None  # noqa: N815 -- the API's name
    request: _Request | None = None


_decode = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Admit:
    """The pod may be made, with this RFC 6902 patch in JSON (empty: as it is); kubectl prints the warnings."""

    patch: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod may not be made; `message` is for whoever tried."""

    code: int
    """An HTTP status, as in a Kubernetes Status."""
    message: str


Decision: TypeAlias = Admit | Refuse


def read(body: bytes) -> Review:
    """Return the review in an AdmissionReview in JSON. Raise ReviewError where that is none, or not about a pod."""
    envelope = _envelope(body)
    if envelope.kind != "AdmissionReview":
        raise ReviewError("the body is no AdmissionReview", hint="send what a MutatingWebhookConfiguration sends")
    if envelope.apiVersion != API_VERSION:
        raise ReviewError(
            f"the AdmissionReview's version is {envelope.apiVersion!r}",
            hint=f"have admissionReviewVersions say v1, which is {API_VERSION}",
        )
    request = envelope.request
    if request is None or not request.uid:
        raise ReviewError("the AdmissionReview holds no request with a uid", hint="send one")
    kind = request.kind or _Kind()
    if (kind.group or "", kind.version, kind.kind) != ("", "v1", "Pod"):
        raise ReviewError(
            f"the AdmissionReview is not about a v1 Pod but {kind.group or ''!r}, {kind.version!r}, {kind.kind!r}",
            hint="have the rules say pods, v1",
        )
    # Without an operation it is no valid review; of its two readings, this one admits no pod without its identity.
    operation, subresource = request.operation or "CREATE", request.subResource or ""
    created = _created(request.object) if operation == "CREATE" and not subresource else None
    return Review(request.uid, request.namespace or "", operation, subresource, request.object, created)


def uid_of(body: bytes) -> str | None:
    """Return the uid in a review, of which nothing else is looked at. Raise ReviewError where it cannot be decoded."""
    request = _envelope(body).request
    return None if request is None else request.uid


def _envelope(body: bytes) -> _Envelope:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise ReviewError(
            f"the body is no AdmissionReview: {error}", hint="send what a MutatingWebhookConfiguration sends"
        ) from None
    except RecursionError:
        raise ReviewError("the body is nested too deeply", hint="send what an API server sends") from None
    except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
        raise ReviewError(f"the body is not JSON: {error}", hint="send an AdmissionReview as JSON") from None


def _created(pod: msgspec.Raw) -> Outline | PodError | None:
    if bytes(memoryview(pod)[:1]) != b"{":
        raise ReviewError("the object to create is not a Pod", hint="send the pod as the request's object")
    try:
        outline = outline_of(pod)
    except PodError as error:
        return error
    # API servers refuse mirrors of static pods with a service account token, and could not show the static pod.
    return None if outline.is_mirror else outline


def account_wanted(review: Review) -> AccountRef | None:
    """Return the service account whose annotations decide about the pod; None where nothing is to be put in.

    That is: the pod has not the label, is not being made, or is no pod that can be made (`decide` says so).
    """
    return account_of(review) if isinstance(review.created, Outline) and review.created.is_labelled else None


def account_of(review: Review) -> AccountRef | None:
    """Return the service account that a pod runs as, labelled or not; None where no pod is being made.

    Of a pod without the label it is worth knowing, for a warning, but not worth waiting for.
    """
    return AccountRef(review.namespace, review.created.account) if isinstance(review.created, Outline) else None


def decide(review: Review, account: Object | None, policy: Policy) -> Decision:
    """Decide about a review. `account` is the ServiceAccount that `account_of` names; None: there is none."""
    created = review.created
    if created is None:
        return Admit()
    if isinstance(created, PodError):
        return Refuse(400, str(created))
    if not created.is_labelled:
        return Admit(warnings=_advice(created, account or {}))
    if account is None:
        return Refuse(
            400,
            f'serviceaccounts "{created.account}" not found in namespace "{review.namespace}": '
            "make it before the pod, or correct the pod's serviceAccountName",
        )
    return _mutated(created, account, policy)


def _mutated(pod: Outline, account: Object, policy: Policy) -> Decision:
    try:
        operations, warnings = mutation(pod_of(pod), account, policy)
    except PodError as error:
        return Refuse(400, str(error))
    patch = _encode(operations) if operations else b""
    if len(patch) > limits.PATCH:
        return Refuse(
            400,
            f"the patch that gives the pod its identity has {len(patch):,} bytes, and at most {limits.PATCH:,} are "
            "sent: use fewer containers, or name some in the annotation azure.workload.identity/skip-containers",
        )
    return Admit(patch, warnings)


def _advice(pod: Outline, account: Object) -> tuple[str, ...]:
    """Return the warnings about a pod without the label, unless its labels and annotations are not worth reading."""
    try:
        labels, annotations = texts_of(pod)
    except PodError:
        return ()
    return advice_unlabelled({"labels": labels, "annotations": annotations}, account)


def answer(review: Review, decision: Decision) -> dict[str, Any]:
    """Return the AdmissionReview that answers `review`."""
    response: Object = {"uid": review.uid}
    match decision:
        case Admit():
            response["allowed"] = True
            if decision.patch:
                response["patchType"] = "JSONPatch"
                response["patch"] = b2a_base64(decision.patch, newline=False).decode("ascii")
            if decision.warnings:
                response["warnings"] = list(decision.warnings)
        case Refuse():
            response["allowed"] = False
            response["status"] = {"code": decision.code, "message": decision.message}
        case _:
            assert_never(decision)
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
