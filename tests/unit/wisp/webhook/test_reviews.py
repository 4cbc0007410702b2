"""The application of the TLS listener: bodies that are not reviews, and remembered answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.wisp.certificates.replicas import NoLog
from tests.unit.wisp.webhook.process import CLIENT_ID, TENANT, review
from wisp.admission.annotations import PREFIX
from wisp.admission.policy import Policy
from wisp.http.messages import Request, Response
from wisp.kubernetes.types import ApiRequest, ApiResponse, ApiUnavailableError, Metadata
from wisp.webhook.accounts import ServiceAccounts
from wisp.webhook.metrics import WebhookMetrics
from wisp.webhook.reviews import Reviews


class NoApi:
    """An API server that is never there."""

    async def request(self, request: ApiRequest, time_limit: float | None = None) -> ApiResponse:
        """Fail."""
        raise ApiUnavailableError(f"{request.path} {time_limit}")


@pytest.fixture(name="reviews")
def _reviews() -> Reviews:
    accounts = ServiceAccounts(NoApi())
    accounts.replace([Metadata("web", "default", annotations={PREFIX + "client-id": CLIENT_ID})])
    return Reviews(accounts, Policy(tenant_id=TENANT), WebhookMetrics(), NoLog())  # type: ignore[arg-type]  # a fake


def ask(reviews: Reviews, body: bytes, *, method: bytes = b"POST", target: bytes = b"/mutate-v1-pod") -> Response:
    """Put a request to it; the answer must come at once."""
    answer = reviews.answer(Request(method, target, (), body, http_1_0=False, keep_alive=True))
    assert isinstance(answer, Response)
    return answer


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a review with something wrong in it."""
    document = json.loads(review())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "body, words",
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"{", "not JSON", id="half an object"),
        pytest.param(b"\xff\xfe", "not JSON", id="not UTF-8"),
        pytest.param(b'{"kind": "\xff"}', "not JSON", id="a string that is not UTF-8"),
        pytest.param(b"[" * 100_000, "", id="nested without end"),
        pytest.param(b"[]", "not an AdmissionReview", id="a list"),
        pytest.param(b"null", "not an AdmissionReview", id="null"),
        pytest.param(changed(lambda d: d.update(kind="Pod")), "not an AdmissionReview", id="another kind"),
        pytest.param(changed(lambda d: d.update(apiVersion="admission.k8s.io/v1beta1")), "version", id="v1beta1"),
        pytest.param(changed(lambda d: d.pop("request")), "no request", id="an answer"),
        pytest.param(changed(lambda d: d["request"].pop("uid")), "uid", id="no uid"),
        pytest.param(changed(lambda d: d["request"]["kind"].update(kind="Node")), "not about a v1 Pod", id="a node"),
    ],
)
def test_body_that_is_not_a_review_gets_400_with_the_reason(reviews: Reviews, body: bytes, words: str) -> None:
    response = ask(reviews, body)
    assert response.status == 400
    assert words in response.body.decode()


def test_other_paths_and_methods_are_rejected(reviews: Reviews) -> None:
    assert ask(reviews, review(), target=b"/").status == 404
    assert ask(reviews, review(), method=b"GET").status == 405


def test_cached_answer_differs_only_in_its_uid(reviews: Reviews) -> None:
    """A change of the policy gives a new answer."""
    first, second, odd = (json.loads(ask(reviews, review(uid=uid)).body)["response"] for uid in ("a", "b", '"\\ü'))
    assert first.pop("uid") == "a"
    assert second.pop("uid") == "b"
    assert odd.pop("uid") == '"\\ü'
    assert first == second == odd
    reviews.policy = Policy(tenant_id=CLIENT_ID)
    assert json.loads(ask(reviews, review()).body)["response"]["patch"] != first["patch"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d["request"].update(namespace="other"), id="namespace"),
        pytest.param(lambda d: d["request"].update(operation="UPDATE"), id="operation"),
        pytest.param(lambda d: d["request"].update(subResource="ephemeralcontainers"), id="subresource"),
        pytest.param(lambda d: d["request"]["object"]["metadata"].update(labels={}), id="label"),
    ],
)
def test_cached_answer_is_only_for_the_same_review(
    reviews: Reviews, change: Callable[[dict[str, Any]], object]
) -> None:
    assert b"patch" in ask(reviews, review()).body
    other = reviews.answer(Request(b"POST", b"/mutate-v1-pod", (), changed(change), http_1_0=False, keep_alive=True))
    if isinstance(other, Response):
        assert b"patch" not in other.body
    else:
        assert b'"code":503' in asyncio.run(_awaited(other)).body


async def _awaited(answer: Awaitable[Response]) -> Response:
    return await answer
