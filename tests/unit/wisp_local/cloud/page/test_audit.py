"""The audit log of a token gateway: whose exchanges it is about, and what is read from it."""

import json
import os
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.support.paths import ROOT
from tests.unit.wisp_local.cloud.small_azure import NOW
from wisp.base.secret import Secret
from wisp.gateway.audit import AuditedRequest, AuditLog
from wisp.gateway.types import Caller, TokenForm
from wisp_local.cloud.cluster import GATEWAY_SUBJECT
from wisp_local.cloud.page.audit import CALLERS, AuditedCaller, GatewayExchange, callers, gateway_namespace, pod_names

ID = "11111111-2222-4333-8444-555555555555"
CLIENT_ID = "99999999-2222-4333-8444-555555555555"
EXCHANGE = GatewayExchange("wisp-system", ID, CLIENT_ID, NOW)
LINE = {
    "time": "2025-10-09T08:53:20.125Z",
    "event": "token granted",
    "result": "granted",
    "namespace": "shop",
    "serviceAccount": "cart",
    "pod": "cart-1",
    "podUid": "uid",
    "node": "node-1",
    "clientId": CLIENT_ID,
    "correlationId": ID,
}
CALLER = AuditedCaller("2025-10-09T08:53:20.125Z", "shop", "cart", "cart-1", "node-1", "granted")


def _log(*lines: object) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


GATEWAYS = {
    "the chart's": ("system:serviceaccount:wisp-system:wisp-gateway", "wisp-system"),
    "another release's": ("system:serviceaccount:identity:prod-wisp-gateway", "identity"),
    "a workload's": ("system:serviceaccount:wisp-system:wisp", ""),
    "no service account": ("repo:wisp/gateway:ref:wisp-gateway", ""),
    "a namespace that is none": ("system:serviceaccount:a/b:wisp-gateway", ""),
    "a command": ("system:serviceaccount:a$(id):wisp-gateway", ""),
    "a second line": ("system:serviceaccount:a:wisp-gateway\n", ""),
}


@pytest.mark.parametrize("subject, namespace", GATEWAYS.values(), ids=GATEWAYS)
def test_gateway_is_known_by_its_service_account(subject: str, namespace: str) -> None:
    """The namespace becomes part of a command and of a path, so nothing but a namespace is one."""
    assert gateway_namespace(subject) == namespace


def test_gateway_of_the_chart_is_found() -> None:
    """Its pods have the labels, the container and the service account that are looked for."""
    manifests = yaml.safe_load_all((ROOT / "deploy/wisp-gateway.yaml").read_text(encoding="utf-8"))
    pods = [
        (document["metadata"]["namespace"], document["spec"]["template"])
        for document in manifests
        if document and document["kind"] == "Deployment" and document["metadata"]["name"] == "wisp-gateway"
    ]
    ((namespace, pod),) = pods
    wanted = parse_qs(urlsplit(EXCHANGE.pods_path).query)["labelSelector"][0].split(",")
    assert {f"{name}={value}" for name, value in pod["metadata"]["labels"].items()} >= set(wanted)
    assert parse_qs(urlsplit(EXCHANGE.log_path("x")).query)["container"][0] in {
        container["name"] for container in pod["spec"]["containers"]
    }
    assert f"system:serviceaccount:{namespace}:{pod['spec']['serviceAccountName']}" == GATEWAY_SUBJECT
    assert gateway_namespace(GATEWAY_SUBJECT) == namespace


def test_audit_line_of_the_gateway_is_read() -> None:
    """The gateway writes what is looked for."""
    reader, writer = os.pipe()
    log = AuditLog(lambda _seconds, call: call(), writer, unix=lambda: 1_760_000_000.125)
    caller = Caller("system:serviceaccount:shop:cart", "", (), (), "shop", "cart", "cart-1", "uid", "node-1")
    form = TokenForm("tenant", CLIENT_ID, "https://vault.azure.net/.default", "", Secret("x"), ID)
    log.granted(AuditedRequest("192.0.2.1", ID, form, caller))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert callers(file.read(), EXCHANGE) == [CALLER]


def test_command_finds_the_audit_line() -> None:
    """It reads the gateway's pods from just before the exchange."""
    assert EXCHANGE.command == (
        "kubectl logs --namespace=wisp-system "
        "--selector=app.kubernetes.io/part-of=wisp,app.kubernetes.io/component=gateway \\\n"
        f"  --container=gateway --tail=-1 --since-time=2025-10-09T08:53:15Z | grep {ID}"
    )


def test_requests_are_bounded() -> None:
    """A few pods, and a part of each log."""
    assert parse_qs(urlsplit(EXCHANGE.pods_path).query)["limit"] == ["10"]
    log = urlsplit(EXCHANGE.log_path("a/../b"))
    assert log.path == "/api/v1/namespaces/wisp-system/pods/a%2F..%2Fb/log"
    query = {name: values[0] for name, values in parse_qs(log.query).items()}
    assert query == {"container": "gateway", "sinceTime": "2025-10-09T08:53:15Z", "limitBytes": "4194304"}


def test_caller_is_found_among_other_lines() -> None:
    """Lines of the gateway's own log and of other requests are between; what is cut off is no line."""
    other = {**LINE, "correlationId": CLIENT_ID, "pod": ID}
    cut = json.dumps(LINE).encode()[:-20]
    log = _log({"event": "listening"}, other, b"panic: " + ID.encode(), [ID], LINE) + cut
    assert callers(log, EXCHANGE) == [CALLER]


NOBODY = {
    "another identity": {"clientId": ID},
    "a request that was not authenticated": {"namespace": ""},
    "a name that is not text": {"namespace": 7},
}


@pytest.mark.parametrize("changes", NOBODY.values(), ids=NOBODY)
def test_line_that_names_no_caller_of_the_exchange_is_skipped(changes: dict[str, object]) -> None:
    """The correlation id is the client's choice; the identity must be the exchange's, too."""
    assert callers(_log({**LINE, **changes}), EXCHANGE) == []


def test_long_names_and_many_lines_are_cut() -> None:
    """What a page shows is bounded, whoever writes the log."""
    found = callers(_log(*({**LINE, "pod": f"{number}{'x' * 999}"} for number in range(50))), EXCHANGE)
    assert len(found) == CALLERS
    assert {len(caller.pod) for caller in found} == {256}


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"items": 7}', b'{"items": [{}]}', b"[" * 9999])
def test_answer_that_is_not_a_list_of_pods_has_none(document: bytes) -> None:
    """Nothing is read from it."""
    assert pod_names(document) == []
