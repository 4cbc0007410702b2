"""Decides how an admission review is answered: with a patch and warnings, or with a refusal.

The steps: `read_review` from JSON, `account_ref`, `decide` with the account, `answer`. JSON is decoded only as far as
it is needed: the review without its object, then the pod's label and service account, and the rest of the pod only if
it gets its identity. Source: admission.k8s.io/v1, AdmissionReview.
"""

from binascii import b2a_base64
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, assert_never

import msgspec

from wisp.admission.mutate import plan_mutation
from wisp.admission.pod import Outline, read_metadata, read_outline, read_pod
from wisp.admission.policy import Policy
from wisp.admission.types import ABSENT, MAX_PATCH, Name, Object, PodError, RetryError
from wisp.admission.warnings import warnings_about_unlabelled
from wisp.base.errors import WispError

API_VERSION = "admission.k8s.io/v1"


class ReviewError(WispError):
    """The body is not an admission review that can be answered."""


class AccountRef(NamedTuple):
    """The service account that a pod runs as."""

    namespace: str
    name: str


class Review(NamedTuple):
    """A question of the API server: whether a pod may be created, and with which changes."""

    uid: str
    namespace: str
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    subresource: str
    object: msgspec.Raw
    """The object as it was sent."""
    created: Outline | PodError | None
    """The pod that is being created, or what is wrong with it; None if nothing is injected in any case."""


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
    """The pod may be created with this RFC 6902 patch in JSON (empty: unchanged). kubectl prints the warnings."""

    patch: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod may not be created; `message` is for the user who tried."""

    code: int
    """An HTTP status, as in a Kubernetes Status."""
    message: str


Decision: TypeAlias = Admit | Refuse


def read_review(body: bytes) -> Review:
    """Read an AdmissionReview in JSON. Raise ReviewError if it is not one, or not about a pod."""
    envelope = _envelope(body)
    if envelope.kind != "AdmissionReview":
        raise ReviewError("the body is not an AdmissionReview", hint="send what a MutatingWebhookConfiguration sends")
    if envelope.apiVersion != API_VERSION:
        raise ReviewError(
            f"the AdmissionReview's version is {envelope.apiVersion!r}",
            hint=f"set admissionReviewVersions to v1, which is {API_VERSION}",
        )
    request = envelope.request
    if request is None or not request.uid:
        raise ReviewError("the AdmissionReview has no request with a uid", hint="send a request with a uid")
    kind = request.kind or _Kind()
    if (kind.group or "", kind.version, kind.kind) != ("", "v1", "Pod"):
        raise ReviewError(
            f"the AdmissionReview is not about a v1 Pod but {kind.group or ''!r}, {kind.version!r}, {kind.kind!r}",
            hint="set the rules to pods, v1",
        )
    # A review without an operation is invalid; read as a creation, it admits no pod without its identity.
    operation, subresource = request.operation or "CREATE", request.subResource or ""
    created = _created(request.object) if operation == "CREATE" and not subresource else None
    return Review(request.uid, request.namespace or "", operation, subresource, request.object, created)


def read_uid(body: bytes) -> str | None:
    """Return a review's uid, checking nothing else. Raise ReviewError if it cannot be decoded."""
    request = _envelope(body).request
    return None if request is None else request.uid


def _envelope(body: bytes) -> _Envelope:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise ReviewError(
            f"the body is not an AdmissionReview: {error}", hint="send what a MutatingWebhookConfiguration sends"
        ) from None
    except RecursionError:
        raise ReviewError("the body is nested too deeply", hint="send what an API server sends") from None
    except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
        raise ReviewError(f"the body is not JSON: {error}", hint="send an AdmissionReview as JSON") from None


def _created(pod: msgspec.Raw) -> Outline | PodError | None:
    if bytes(memoryview(pod)[:1]) != b"{":
        raise ReviewError("the object to create is not a Pod", hint="send the pod as the request's object")
    try:
        outline = read_outline(pod)
    except PodError as error:
        return error
    # API servers refuse mirrors of static pods with a service account token, and could not show the static pod.
    return None if outline.is_mirror else outline


def required_account(review: Review) -> AccountRef | None:
    """Return the service account whose annotations decide about the pod; None if nothing is injected.

    Nothing is injected if the pod has no label, is not being created, or is invalid (`decide` refuses it).
    """
    return account_ref(review) if isinstance(review.created, Outline) and review.created.is_labelled else None


def account_ref(review: Review) -> AccountRef | None:
    """Return the service account that a pod runs as, labelled or not; None if no pod is being created.

    For a pod without the label it only serves a warning: use it if it is known, but do not wait for it.
    """
    return AccountRef(review.namespace, review.created.account) if isinstance(review.created, Outline) else None


def decide(review: Review, account: Object | None, policy: Policy) -> Decision:
    """Decide about a review. `account` is the ServiceAccount that `account_ref` names; None: it does not exist."""
    created = review.created
    if created is None:
        return Admit()
    if isinstance(created, PodError):
        return Refuse(400, str(created))
    if not created.is_labelled:
        return Admit(warnings=_unlabelled_warnings(created, account or {}))
    if account is None:
        return Refuse(
            400,
            f'serviceaccounts "{created.account}" not found in namespace "{review.namespace}": '
            "create it before the pod, or correct the pod's serviceAccountName",
        )
    return _inject(created, account, policy)


def _inject(pod: Outline, account: Object, policy: Policy) -> Decision:
    try:
        operations, warnings = plan_mutation(read_pod(pod), account, policy)
    except RetryError as error:
        return Refuse(503, str(error))
    except PodError as error:
        return Refuse(400, str(error))
    patch = _encode(operations) if operations else b""
    if len(patch) > MAX_PATCH:
        return Refuse(
            400,
            f"the patch that gives the pod its identity has {len(patch):,} bytes, and at most {MAX_PATCH:,} are "
            "sent: use fewer containers, or name some in the annotation azure.workload.identity/skip-containers",
        )
    return Admit(patch, warnings)


def _unlabelled_warnings(pod: Outline, account: Object) -> tuple[str, ...]:
    """Return the warnings about a pod without the label; none if its labels and annotations are invalid."""
    try:
        labels, annotations = read_metadata(pod)
    except PodError:
        return ()
    return warnings_about_unlabelled({"labels": labels, "annotations": annotations}, account)


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
