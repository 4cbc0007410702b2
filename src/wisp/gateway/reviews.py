"""What the gateway asks the API server about a caller, and what the answers mean. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/ and
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/
"""

from collections.abc import Mapping
from sys import intern
from typing import Literal, NamedTuple

import msgspec

from wisp.base.masking import masked
from wisp.base.secret import Secret
from wisp.gateway.types import API_GROUP, VERB, Authorized, Caller, Forbidden, Unauthenticated
from wisp.kubernetes.types import ApiRequest, ApiResponse, parse_status

_USERS = "system:serviceaccount:"
"""What the user names of service accounts begin with; namespace and name follow."""
_EXTRA = "authentication.kubernetes.io/"
"""What the names of a token's bound objects begin with."""
_REASON_LIMIT = 300


class Unanswered(NamedTuple):
    """The API server gave no usable answer. `detail` is for the log only: what it said about the gateway."""

    reason: str
    detail: str = ""


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    audiences: list[str] | None = None
    error: str = ""
    user: _User = msgspec.field(default_factory=_User)


class _TokenReview(msgspec.Struct):
    status: _TokenStatus
    kind: Literal["TokenReview"] = "TokenReview"


class _AccessStatus(msgspec.Struct):
    allowed: bool = False
    denied: bool = False


class _AccessReview(msgspec.Struct):
    status: _AccessStatus
    kind: Literal["SubjectAccessReview"] = "SubjectAccessReview"


_UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's and Unicode's errors are ValueErrors, and a document may be nested too deeply."""
_encode = msgspec.json.Encoder().encode
_decode_token_review = msgspec.json.Decoder(_TokenReview).decode
_decode_access_review = msgspec.json.Decoder(_AccessReview).decode


def token_review(assertion: Secret, audience: str) -> ApiRequest:
    """Return the request for whom a token belongs to, and whether it is valid for `audience` now."""
    spec = {"token": assertion.reveal(), "audiences": [audience]}
    return _review("authentication", "TokenReview", "tokenreviews", spec)


def read_token_review(response: ApiResponse, audience: str) -> Caller | Unauthenticated | Unanswered:
    """Return the caller. Only service accounts are callers."""
    status = _token_status(response)
    if isinstance(status, Unanswered):
        return status
    if not status.authenticated:
        return Unauthenticated(_reason(status.error) or "the API server does not accept it")
    if audience not in (status.audiences or ()):  # an API server that ignores audiences accepts any of its tokens
        return Unauthenticated(f"the API server does not say that it is for the audience {audience}")
    user = status.user
    namespace, separator, name = user.username.removeprefix(_USERS).partition(":")
    if not user.username.startswith(_USERS) or not separator or not namespace or not name or ":" in name:
        return Unauthenticated("it does not belong to a service account")
    extra = user.extra or {}
    pod, pod_uid, node = ((extra.get(_EXTRA + key) or [""])[0] for key in ("pod-name", "pod-uid", "node-name"))
    return Caller(
        user.username,
        user.uid,
        tuple(map(intern, user.groups or ())),  # of ten thousand callers that are remembered, most have the same ones
        tuple((intern(key), tuple(values)) for key, values in extra.items()),
        namespace,
        name,
        pod,
        pod_uid,
        node,
    )


def _token_status(response: ApiResponse) -> _TokenStatus | Unanswered:
    if response.status not in (200, 201):
        return _unanswered(response)
    try:
        status = _decode_token_review(response.body).status
    except _UNREADABLE:
        return Unanswered("its answer is not a TokenReview")
    if status.authenticated and status.error:  # which says that the token could not be checked
        return Unanswered("its TokenReview contradicts itself", _reason(status.error))
    return status


def access_review(caller: Caller, client_id: str) -> ApiRequest:
    """Return the request for whether RBAC, or another authorizer, lets the caller use the identity."""
    spec = {
        "user": caller.username,
        "uid": caller.uid,
        "groups": caller.groups,
        "extra": dict(caller.extra),
        "resourceAttributes": {"verb": VERB, "group": API_GROUP, "resource": client_id},
    }
    return _review("authorization", "SubjectAccessReview", "subjectaccessreviews", spec)


def read_access_review(response: ApiResponse, caller: Caller) -> Authorized | Forbidden | Unanswered:
    """Return whether the caller may use the identity."""
    if response.status not in (200, 201):
        return _unanswered(response)
    try:
        status = _decode_access_review(response.body).status
    except _UNREADABLE:
        return Unanswered("its answer is not a SubjectAccessReview")
    return Authorized(caller) if status.allowed and not status.denied else Forbidden(caller)


def _review(group: str, kind: str, resource: str, spec: Mapping[str, object]) -> ApiRequest:
    version = f"{group}.k8s.io/v1"
    body = _encode({"apiVersion": version, "kind": kind, "spec": spec})
    return ApiRequest(f"/apis/{version}/{resource}", b"POST", body, repeatable=True)


def _unanswered(response: ApiResponse) -> Unanswered:
    message = parse_status(response.status, response.body).message
    return Unanswered(f"it answers with HTTP {response.status}", _reason(message))


def _reason(text: str) -> str:
    """Return the beginning of what the API server says, without tokens."""
    return masked(text[:_REASON_LIMIT], cut=len(text) > _REASON_LIMIT)
