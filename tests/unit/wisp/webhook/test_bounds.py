"""What one review may cost, whatever is in it: bytes allocated, and what is remembered afterwards."""

import gc
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import pytest

from tests.support.paths import ROOT
from wisp.admission import types as limits
from wisp.admission.mutate import mutate
from wisp.admission.policy import Policy
from wisp.http.messages import Request, Response
from wisp.webhook.metrics import WebhookMetrics
from wisp.webhook.reviews import PATH, Reviews

POLICY = Policy(tenant_id="0f1e2d3c-0000-4000-8000-000000000001", server_version=(1, 34))
USE = b'"labels":{"azure.workload.identity/use":"true"}'
ROOM = limits.MAX_REVIEW - 2000
MOST = 25_000_000
"""Bytes that may be allocated for one review, besides its body."""
WIDE = "\U0001f600"
"""A character of four bytes: a text that has one takes four bytes for each of its characters."""


class Log:
    """A log that keeps nothing."""

    def info(self, *_: object, **__: object) -> None:
        """Drop it."""

    def warning(self, event: str, **fields: object) -> None:
        """Fail: no client may cause a bug to show."""
        raise AssertionError((event, fields))


class Accounts:
    """One service account for all pods."""

    account: dict[str, Any] = {  # noqa: RUF012 -- of one test
        "metadata": {
            "name": "default",
            "namespace": "apps",
            "annotations": {"azure.workload.identity/client-id": "6a1d0c9e-0b0f-4c39-8a31-0c34b0a0f5e1"},
            "labels": {},
        }
    }

    def get(self, *_: str) -> dict[str, Any]:
        """Return it."""
        return self.account

    def cached(self, *_: str) -> dict[str, Any]:
        """Return it."""
        return self.account


def webhook() -> Reviews:
    """Return the application, without a server."""
    return Reviews(Accounts(), POLICY, WebhookMetrics(), Log(), lambda: 0.0)  # type: ignore[arg-type]  # two fakes


def ask(application: Reviews, body: bytes) -> Response:
    """Send a review."""
    assert len(body) <= limits.MAX_REVIEW
    answer: Response | Awaitable[Response] = application.answer(
        Request(b"POST", PATH, (), body, http_1_0=False, keep_alive=True)
    )
    assert isinstance(answer, Response)
    return answer


def response(application: Reviews, body: bytes) -> dict[str, Any]:
    """Send a review that is one; return what is in the answer."""
    answer = ask(application, body)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body)["response"])


def review(pod: bytes, **changes: Any) -> bytes:
    """Return the review of a pod's creation; `pod` need not be JSON."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request = {"uid": "1", "kind": kind, "namespace": "apps", "operation": "CREATE", "object": "POD", **changes}
    document = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    return json.dumps(document).encode().replace(b'"POD"', pod)


def labelled(spec: bytes, only: str | None = None) -> bytes:
    """Return the review of a labelled pod, with the sidecar in that mode."""
    annotations = {}
    if only is not None:
        annotations = {f"azure.workload.identity/inject-proxy-{key}": only for key in ("only", "mode")}
    annotations_json = json.dumps(annotations).encode()
    return review(b'{"metadata":{%b,"annotations":%b},"spec":{%b}}' % (USE, annotations_json, spec))


def many(item: str, values: int = 0, room: int = ROOM) -> bytes:
    """Return as many items as there is room for, or the limit of values allows; `%d` is a number."""
    one = item.replace("%d", "000000").encode()
    count = room // (len(one) + 1)
    if values:
        count = min(count, (limits.MAX_VALUES - 50) // values)
    if "%d" not in item:
        return b",".join([one] * count)
    return b",".join(item.replace("%d", f"{number:06}").encode() for number in range(count))


def container(fields: bytes) -> bytes:
    """Return a spec with one container."""
    return b'"containers":[{"name":"a",%b}]' % fields


NAME = "azure-workload-identity-reserved-" + sha256(b" (prefix)").hexdigest()[:30]
LISTS = many("[]")
LONG = f"{WIDE}{'x' * (ROOM - 4)}".encode()
SELECT = b'"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[%b]}}}'

SHAPES: dict[str, Callable[[], bytes]] = {
    "a list": lambda: b"[%b]" % LISTS,
    "lists beside the request": lambda: review(b"{}").replace(b'"request"', b'"novel": [%b], "request"' % LISTS),
    "lists for a pod": lambda: review(b"[%b]" % LISTS),
    "nested lists": lambda: review(b'{"novel":' + b"[" * ROOM + b"}"),
    "nested objects": lambda: review(b'{"novel":' + b'{"a":' * (ROOM // 5) + b"}"),
    "a long uid": lambda: review(b"{}").replace(b'"1"', b'"%b"' % LONG),
    "an account with a long name": lambda: labelled(b'"serviceAccountName":"%b"' % LONG),
    "many labels": lambda: review(b'{"metadata":{"labels":{%b}},"spec":{}}' % many('"%d":""')),
    "annotations": lambda: review(
        b'{"metadata":{%b,"annotations":{%b}},"spec":{}}' % (USE, many('"%d":""', room=500_000))
    ),
    "annotations of another type": lambda: review(
        b'{"metadata":{%b,"annotations":{%b}},"spec":{}}' % (USE, many('"%d":1', room=500_000))
    ),
    "unlabelled, with containers": lambda: review(b'{"spec":{"containers":[%b]}}' % many("{}")),
    "28,000 containers": lambda: labelled(
        b'"containers":[%b]' % b",".join(b'{"name":"c%d","image":"i"}' % number for number in range(28_000))
    ),
    "containers": lambda: labelled(b'"containers":[%b]' % many("{}", 2)),
    "variables": lambda: labelled(container(b'"env":[%b]' % many(f'{{"name":"{WIDE}ab","value":"{WIDE}ab"}}', 3))),
    "variables of many digits": lambda: labelled(container(b'"env":[%b]' % many(f'{{"value":{"9" * 4000}}}'))),
    "a number of many digits": lambda: labelled(b'"hostNetwork":' + b"1" * ROOM),
    "a long value": lambda: labelled(
        container(b'"env":[{"name":"NO_PROXY","value":"%b"},{"name":"HTTP_PROXY"}]' % LONG), "env"
    ),
    "null characters": lambda: labelled(container(b'"env":[{"name":"%b"}]' % (b"\\u0000" * (ROOM // 6)))),
    "mounts of the token": lambda: labelled(
        container(b'"volumeMounts":[{},%b]' % many(f'{{"name":"{NAME}"}}', 2)), "redirect"
    ),
    "mounts of the same name": lambda: labelled(container(b'"volumeMounts":[%b]' % many(f'{{"name":"{NAME}"}}', 2))),
    "volumes of the same name": lambda: labelled(
        container(b'"a":1') + b',"volumes":[%b]' % many(f'{{"name":"{NAME}"}}', 2)
    ),
    "labels of trust bundles": lambda: labelled(
        container(b'"a":1')
        + b',"volumes":[{"projected":{"sources":[{"clusterTrustBundle":{"labelSelector":{"matchLabels":{%b}}}}]}}]'
        % many(f'"{WIDE}%d":"{WIDE}a"', 1)
    ),
    "a node selector": lambda: labelled(
        container(b'"a":1') + b',"nodeSelector":{%b}' % many(f'"{WIDE}%d":"{WIDE}a"', 1), "redirect"
    ),
    "an affinity": lambda: labelled(
        container(b'"a":1')
        + b","
        + SELECT
        % b'{"matchExpressions":[{"key":"kubernetes.io/os","operator":"In","values":[%b]}]}'
        % many(f'"{WIDE}ab"', 1),
        "redirect",
    ),
    "capabilities": lambda: labelled(
        container(b'"securityContext":{"capabilities":{"drop":[%b]}}' % many(f'"{WIDE}%d"', 1)), "redirect"
    ),
    "the same member again": lambda: labelled(many('"containers":[{"name":"b"}]')),
    "values in all places": lambda: review(
        b'{"metadata":{%b,"annotations":{"a":"%b"},"managedFields":[%b]},"spec":{%b}}'
        % (USE, b"," * 100_000, many("{}", room=1_000_000), container(b'"env":[%b]' % many("{}", 2)))
    ),
    "managed fields": lambda: review(
        b'{"metadata":{%b,"managedFields":[%b]},"spec":{"containers":[]}}' % (USE, many("{}"))
    ),
    "no UTF-8": lambda: labelled(b'"restartPolicy":"%b"' % (b"\xff" * ROOM)),
    "lone surrogates": lambda: labelled(b'"restartPolicy":"%b"' % (b"\\ud800" * (ROOM // 6))),
    "an update of anything": lambda: review(b"[%b]" % LISTS, operation="UPDATE"),
}


@pytest.mark.system
@pytest.mark.parametrize("shape", SHAPES)
def test_memory_for_one_review_is_bounded(shape: str) -> None:
    """At most 25 MB besides the body, and next to nothing afterwards, whatever the answer is."""
    application, body = webhook(), SHAPES[shape]()
    ask(application, labelled(container(b'"a":1'), "redirect"))
    gc.collect()
    tracemalloc.start()
    try:
        status = ask(application, body).status
        retained, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status in (200, 400)
    assert peak < MOST
    assert retained < 200_000


def test_long_texts_are_not_kept_after_a_review() -> None:
    """Neither a key nor an answer, however long it is."""
    application = webhook()
    tracemalloc.start()
    try:
        for number in range(40):
            key = f"azure.workload.identity.{number}{'x' * 30_000}"
            for labels in ({}, {"azure.workload.identity/use": "true"}):
                metadata = {"labels": labels, "annotations": {key: "", key * 3: ""}}
                response(application, review(json.dumps({"metadata": metadata, "spec": {}}).encode()))
        retained, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert retained < 500_000


def pod_of(count: int) -> bytes:
    """Return a spec with that many containers, each with the mount that API servers add and a variable."""
    rest = b'"image":"i","env":[{"name":"A","value":"1"}],"volumeMounts":[{"name":"kube-api-access","mountPath":"/v"}]'
    return b'"containers":[%b]' % b",".join(b'{"name":"c%d",%b}' % (number, rest) for number in range(count))


@pytest.mark.parametrize("only", [None, "redirect", "env"])
def test_pod_with_a_thousand_containers_is_admitted(only: str | None) -> None:
    """In each mode."""
    assert response(webhook(), labelled(pod_of(1000), only))["patch"]


def test_pod_with_a_thousand_containers_is_not_injected_twice() -> None:
    """The API server calls again when another injector changed the pod, which has two containers of ours by then."""
    pod: dict[str, Any] = {"metadata": {"annotations": {"azure.workload.identity/inject-proxy-sidecar": "true"}}}
    pod["spec"] = json.loads(b"{%b}" % pod_of(1000))
    pod["metadata"]["labels"] = {"azure.workload.identity/use": "true"}
    once = mutate(pod, Accounts.account, POLICY)
    assert len(once["spec"]["initContainers"]) == 2
    again = response(webhook(), review(json.dumps(once).encode()))
    assert again["allowed"] is True
    assert "patch" not in again


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(pod_of(1001), id="containers"),
        pytest.param(pod_of(1000) + b',"initContainers":[{"name":"setup"}]', id="an init container more"),
    ],
)
def test_pod_with_a_thousand_and_one_containers_is_refused(spec: bytes) -> None:
    """With a sentence for the author."""
    refused = response(webhook(), labelled(spec))
    assert refused["status"] == {
        "code": 400,
        "message": "the pod has 1,001 containers and init containers, and at most 1,000 are accepted in a pod with the "
        "label azure.workload.identity/use: use fewer containers, or remove the label",
    }


def test_unlabelled_pod_with_a_thousand_and_one_containers_is_admitted() -> None:
    """The limit does not apply to it."""
    assert response(webhook(), review(b'{"spec":{%b}}' % pod_of(1001)))["allowed"] is True


@pytest.mark.parametrize(
    "body, reason",
    [
        pytest.param(labelled(b'"novel":[%b]' % many("{}")), "the pod's spec has about ", id="values"),
        pytest.param(
            review(b'{"metadata":{%b,"annotations":{"a":"%b"}},"spec":{}}' % (USE, b"x" * limits.MAX_METADATA)),
            "the pod's labels and annotations are 524,3",
            id="annotations",
        ),
        pytest.param(
            labelled(container(b'"volumeMounts":[%b]' % many(f'{{"name":"{NAME}"}}', 2))),
            "the patch that gives the pod its identity has 2,3",
            id="patch",
        ),
        pytest.param(
            review(
                b'{"metadata":{%b,"annotations":{"azure.workload.identity/skip-containers":"%b"}},"spec":{}}'
                % (USE, b";" * 1001)
            ),
            "skip-containers has more than 1,000 names",
            id="skipped",
        ),
    ],
)
def test_review_beyond_a_limit_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """It is refused with the limit, and with what to do."""
    refused = response(webhook(), body)
    assert (refused["allowed"], refused["status"]["code"]) == (False, 400)
    assert reason in refused["status"]["message"]
    assert len(refused["status"]["message"]) < 300


@pytest.mark.parametrize(
    "row",
    [
        f"| a review | {limits.MAX_REVIEW / (1 << 20):g} MiB |",
        f"| containers and init containers of a labelled pod together | {limits.MAX_CONTAINERS:,} |",
        f"| members and list elements in the spec of a labelled pod | {limits.MAX_VALUES:,} |",
        f"| labels and annotations of a labelled pod, as JSON | {limits.MAX_METADATA >> 10} KiB |",
        f"| names in `skip-containers` | {limits.MAX_SKIPPED:,} |",
        f"| the patch, as JSON | {limits.MAX_PATCH >> 20} MiB |",
    ],
)
def test_documented_limits_match_the_program(row: str) -> None:
    assert row in (ROOT / "docs/reference/admission.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("pod", [b'"invalid"', b"null", b"[]", b"5", b"true", b"[{}]"], ids=bytes.decode)
def test_object_that_is_not_a_pod_is_rejected(pod: bytes) -> None:
    """A pod is not created from it: HTTP 400."""
    answer = ask(webhook(), review(pod))
    assert (answer.status, answer.body) == (
        400,
        b"wisp: the object to create is not a Pod: send the pod as the request's object\n",
    )


def test_review_without_an_object_is_rejected() -> None:
    """The same for a CREATE; a DELETE has none."""
    body = review(b"1").replace(b', "object": 1', b"")
    assert b"object" not in body
    assert ask(webhook(), body).status == 400
    assert response(webhook(), body.replace(b"CREATE", b"DELETE")) == {"uid": "1", "allowed": True}
