"""Requests for reviews, and what the API server's answers mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import CLIENT_ID, jwt
from wisp.base.secret import Secret
from wisp.gateway.reviews import Unanswered, access_review, read_access_review, read_token_review, token_review
from wisp.gateway.types import AUDIENCE, Authorized, Caller, Forbidden, Unauthenticated
from wisp.kubernetes.types import ApiResponse

GROUPS = ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
EXTRA = (
    ("authentication.kubernetes.io/pod-name", ("web-1",)),
    ("authentication.kubernetes.io/pod-uid", ("u-1",)),
    ("authentication.kubernetes.io/node-name", ("node-1",)),
    ("example.com/roles", ("a", "b")),
)
CALLER = Caller("system:serviceaccount:shop:web", "u", GROUPS, EXTRA, "shop", "web", "web-1", "u-1", "node-1")


def user(**changes: object) -> dict[str, Any]:
    extra = {name: list(values) for name, values in EXTRA}
    return {"username": CALLER.username, "uid": "u", "groups": list(GROUPS), "extra": extra, **changes}


def status(**changes: object) -> dict[str, Any]:
    return {"authenticated": True, "audiences": [AUDIENCE], "user": user(), **changes}


def answer(status: object, code: int = 201) -> ApiResponse:
    return ApiResponse(code, json.dumps({"status": status}).encode())


def test_token_review_asks_for_the_gateways_audience() -> None:
    request = token_review(Secret("a.b.c"), AUDIENCE)
    assert (request.method, request.path) == (b"POST", "/apis/authentication.k8s.io/v1/tokenreviews")
    assert request.repeatable
    assert json.loads(request.body) == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": "a.b.c", "audiences": [AUDIENCE]},
    }


def test_access_review_asks_about_everything_that_is_known_of_the_caller() -> None:
    request = access_review(CALLER, CLIENT_ID)
    assert (request.method, request.path) == (b"POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
    assert request.repeatable
    assert json.loads(request.body) == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": CALLER.username,
            "uid": "u",
            "groups": list(GROUPS),
            "extra": {name: list(values) for name, values in EXTRA},
            "resourceAttributes": {
                "verb": "use-managed-identity",
                "group": "cid.wi.aks.azure.com",
                "resource": CLIENT_ID,
            },
        },
    }


def test_authenticated_service_account_is_a_caller() -> None:
    assert read_token_review(answer(status()), AUDIENCE) == CALLER


def test_token_without_a_pod_has_its_service_account_alone() -> None:
    caller = read_token_review(answer(status(user=user(extra=None, groups=None))), AUDIENCE)
    assert caller == Caller(CALLER.username, "u", (), (), "shop", "web")
    assert isinstance(caller, Caller)
    assert caller.key == CALLER.username


@pytest.mark.parametrize(
    "found, reason",
    [
        ({}, "the API server does not accept it"),
        ({"authenticated": False, "error": "[invalid bearer token]"}, "[invalid bearer token]"),
        ({"authenticated": False, "error": f"bad {jwt(exp=1)}"}, "bad ***"),
        ({"authenticated": False, "error": f"{' ' * 250}{jwt(exp=1, sub='a' * 300)}"}, f"{' ' * 250}***"),
        ({**status(), "authenticated": False}, "the API server does not accept it"),
        (status(audiences=None), "the API server does not say that it is for the audience"),
        (status(audiences=["https://kubernetes.default.svc"]), "the API server does not say that it is for"),
        (status(user=user(username="kubernetes-admin")), "it does not belong to a service account"),
        (status(user=user(username="system:node:node-1")), "it does not belong to a service account"),
        (status(user=user(username="system:serviceaccount:shop")), "it does not belong to a service account"),
        (status(user=user(username="system:serviceaccount::web")), "it does not belong to a service account"),
        (status(user=user(username="system:serviceaccount:shop:")), "it does not belong to a service account"),
        (status(user=user(username="system:serviceaccount:a:b:c")), "it does not belong to a service account"),
        ({"authenticated": True, "audiences": [AUDIENCE]}, "it does not belong to a service account"),
    ],
)
def test_token_that_is_not_a_callers_is_unauthenticated(found: dict[str, Any], reason: str) -> None:
    answered = read_token_review(answer(found), AUDIENCE)
    assert isinstance(answered, Unauthenticated)
    assert answered.reason.startswith(reason)


BROKEN = [
    ApiResponse(500, b"{}"),
    ApiResponse(429, b"slow down"),
    ApiResponse(401, b'{"message":"Unauthorized"}'),
    ApiResponse(403, b'{"message":"tokenreviews is forbidden"}'),
    ApiResponse(404, b""),
    ApiResponse(302, b""),
    ApiResponse(201, b""),
    ApiResponse(201, b"<html>"),
    ApiResponse(201, b"{}"),
    ApiResponse(201, b"[]"),
    ApiResponse(201, b'{"status":null}'),
    ApiResponse(201, b'{"status":{"authenticated":"true","allowed":"true"}}'),
    ApiResponse(201, b'{"status":{"authenticated":1,"allowed":1}}'),
    ApiResponse(201, b"\xff"),
    ApiResponse(201, b'{"kind":"Status","status":{"authenticated":true,"allowed":true}}'),
    ApiResponse(201, b'{"spec":%b,"status":{}}' % (b"[" * 10_000 + b"]" * 10_000)),
    ApiResponse(403, b'{"details":%b}' % (b"[" * 10_000 + b"]" * 10_000)),
]


@pytest.mark.parametrize("response", BROKEN, ids=lambda response: f"{response.status} {response.body[:70]!r}")
def test_any_other_answer_decides_nothing(response: ApiResponse) -> None:
    assert isinstance(read_token_review(response, AUDIENCE), Unanswered)
    assert isinstance(read_access_review(response, CALLER), Unanswered)


def test_answer_to_another_review_decides_nothing() -> None:
    """As if the answers on a connection were out of step."""
    token = ApiResponse(201, json.dumps({"kind": "TokenReview", "status": status()}).encode())
    access = ApiResponse(201, b'{"kind":"SubjectAccessReview","status":{"allowed":true}}')
    assert read_token_review(token, AUDIENCE) == CALLER
    assert read_access_review(access, CALLER) == Authorized(CALLER)
    assert isinstance(read_token_review(access, AUDIENCE), Unanswered)
    assert isinstance(read_access_review(token, CALLER), Unanswered)


def test_token_that_could_not_be_checked_is_not_authenticated() -> None:
    found = read_token_review(answer(status(error="the webhook did not answer")), AUDIENCE)
    assert found == Unanswered("its TokenReview contradicts itself", "the webhook did not answer")


def test_what_the_api_server_says_of_the_gateway_is_not_for_clients() -> None:
    found = read_token_review(BROKEN[3], AUDIENCE)
    assert found == Unanswered("it answers with HTTP 403", "tokenreviews is forbidden")


@pytest.mark.parametrize(
    "found, expected",
    [
        ({"allowed": True}, Authorized(CALLER)),
        ({"allowed": True, "reason": "RBAC: allowed", "evaluationError": "a role is missing"}, Authorized(CALLER)),
        ({"allowed": False}, Forbidden(CALLER)),
        ({"allowed": False, "denied": True}, Forbidden(CALLER)),
        ({"allowed": True, "denied": True}, Forbidden(CALLER)),
        ({}, Forbidden(CALLER)),
    ],
)
def test_access_review_decides(found: dict[str, Any], expected: Authorized | Forbidden) -> None:
    answered = read_access_review(answer(found), CALLER)
    assert (type(answered), answered) == (type(expected), expected)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "authenticated": json_values,
            "audiences": st.one_of(json_values, st.just([AUDIENCE])),
            "user": st.one_of(json_values, st.just(user())),
            "allowed": json_values,
            "error": json_values,
        },
    )
)
def test_nobody_is_let_in_by_an_odd_answer(found: dict[str, Any]) -> None:
    if isinstance(read_token_review(answer(found), AUDIENCE), Caller):
        assert found["authenticated"] is True
        assert AUDIENCE in found["audiences"]
    if isinstance(read_access_review(answer(found), CALLER), Authorized):
        assert found["allowed"] is True
