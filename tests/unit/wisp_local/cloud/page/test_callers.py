"""The workload for which a gateway made an exchange, read from the cluster's logs when somebody asks on the page."""

import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from starlette.types import ASGIApp

from tests.unit.wisp_local.cloud.asgi import Answer, Client
from tests.unit.wisp_local.cloud.page.conftest import HOST, ComingFrom
from tests.unit.wisp_local.cloud.page.test_audit import CALLER, EXCHANGE, ID, LINE
from tests.unit.wisp_local.cloud.small_azure import SmallAzure
from wisp.base.x509 import SERVER_AND_CLIENT, CertificateRequest, CertifiedKey, issue, new_authority
from wisp_local.cloud.cluster import GATEWAY_SUBJECT, Attachment
from wisp_local.cloud.issuer import new_rsa_key
from wisp_local.cloud.page.callers import CallerLookupError, find_callers
from wisp_local.cloud.serving import tls_context

PODS = {"items": [{"metadata": {"name": "wisp-gateway-a"}}, {"metadata": {"name": "wisp-gateway-b"}}]}


@dataclass
class Cluster:
    """An API server with two pods of a gateway; `logs` by pod: a status, or what was logged."""

    authority: CertifiedKey
    port: int = 0
    logs: dict[str, int | list[dict[str, Any]]] = field(default_factory=dict)
    pods: object = field(default_factory=lambda: PODS)
    asked: list[str] = field(default_factory=list)

    def kubeconfig(self, **user: object) -> str:
        """Return a kubeconfig with a client certificate, or with another user."""

        def data(content: bytes) -> str:
            return base64.b64encode(content).decode()

        admin = issue(
            self.authority, CertificateRequest("admin", usage=SERVER_AND_CLIENT), now=time.time(), seconds=3600
        )
        certificate = {
            "client-certificate-data": data(admin.certificate_pem),
            "client-key-data": data(admin.key_pem),
        }
        server = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority-data": data(self.authority.certificate_pem),
        }
        document = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": server}],
            "users": [{"name": "it", "user": user or certificate}],
        }
        return yaml.safe_dump(document)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        self.asked.append(path)
        found = re.match(r"/api/v1/namespaces/wisp-system/pods(?:/([^/]+)/log)?\?", path)
        if found is None:
            return 404, b"{}"
        if found[1] is None:
            return 200, json.dumps(self.pods).encode()
        log = self.logs.get(found[1], [])
        if isinstance(log, int):
            return log, b"{}"
        return 200, b"".join(json.dumps(line).encode() + b"\n" for line in log)


@pytest.fixture
def cluster() -> Generator[Cluster]:
    """Serve over TLS to clients with a certificate of the cluster's authority."""
    authority = new_authority("cluster CA", now=time.time(), seconds=86400)
    cluster = Cluster(authority)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = cluster.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no log."""

    request = CertificateRequest("server", ("127.0.0.1",))
    context = tls_context(issue(authority, request, now=time.time(), seconds=86400))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.certificate_pem.decode())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        cluster.port = server.server_address[1]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield cluster
        server.shutdown()
        thread.join()


def test_caller_is_found_in_the_log_of_any_pod(cluster: Cluster) -> None:
    """A client certificate authenticates; a pod whose log cannot be read does not hide another's."""
    cluster.logs = {"wisp-gateway-a": 400, "wisp-gateway-b": [LINE, LINE]}
    assert find_callers(cluster.kubeconfig(), EXCHANGE) == [CALLER]
    assert cluster.asked[0] == EXCHANGE.pods_path


def test_request_without_an_audit_line_has_no_caller(cluster: Cluster) -> None:
    """The result is empty, not an error."""
    cluster.logs = {"wisp-gateway-a": [{**LINE, "correlationId": "other"}]}
    assert find_callers(cluster.kubeconfig(), EXCHANGE) == []


def _without_pods(cluster: Cluster) -> str:
    cluster.pods = {"items": []}
    return cluster.kubeconfig()


def _without_logs(cluster: Cluster) -> str:
    cluster.logs = {"wisp-gateway-a": 403}
    return cluster.kubeconfig()


PROBLEMS = {
    "a plugin": (lambda cluster: cluster.kubeconfig(exec={"command": "x"}), "kubeconfig cannot be used"),
    "not a kubeconfig": (lambda _: "{}", "kubeconfig cannot be used"),
    "a password": (lambda cluster: cluster.kubeconfig(username="x", password="y"), "kubeconfig cannot be used"),
    "not https": (lambda cluster: cluster.kubeconfig().replace("https", "http"), "kubeconfig cannot be used"),
    "no certificate": (lambda cluster: cluster.kubeconfig(token="x"), "does not list the gateway's pods"),
    "no pods": (_without_pods, "no pod of a gateway"),
    "no permission for logs": (_without_logs, r"log of pod wisp-gateway-a cannot be read \(status 403\)"),
}


@pytest.mark.parametrize("prepare, reason", PROBLEMS.values(), ids=PROBLEMS)
def test_log_that_cannot_be_read_is_a_problem_with_a_reason(cluster: Cluster, prepare: Any, reason: str) -> None:
    """Nothing in the kubeconfig is executed."""
    with pytest.raises(CallerLookupError, match=reason):
        find_callers(prepare(cluster), EXCHANGE)


def _exchange(azure: SmallAzure, correlation_id: str = ID, **claims: object) -> str:
    """Let a gateway ask for a token; return the path of the exchange's page."""
    assertion = azure.assertion(**{"sub": GATEWAY_SUBJECT, **claims})
    headers = {"client-request-id": correlation_id} if correlation_id else {}
    azure.client.post(f"/{azure.tenant}/oauth2/v2.0/token", azure.form(client_assertion=assertion), **headers)
    found = re.search(r'href="(/exchanges/[^"]+)"', azure.client.get("/").body.decode())
    assert found is not None
    return found[1]


def _press(azure: SmallAzure, path: str, **form: str) -> Answer:
    """Press the button on the exchange's page."""
    mark = re.search(r'name="mark" value="([0-9a-f]{64})"', azure.client.get(path).body.decode())
    return azure.client.post(f"{path}/callers", {"mark": mark[1] if mark else "", **form})


def _text(answer: Answer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.body.decode()).split())


@pytest.fixture
def attached(page_azure: SmallAzure, cluster: Cluster) -> SmallAzure:
    """Attach the API server to the walk-through's cluster, and trust its gateway."""
    store = page_azure.store
    store.clusters.attach(Attachment("wilab", cluster.kubeconfig()))
    store.put_federated_credential(
        page_azure.identity, "gateway", issuer=page_azure.issuer_url, subject=GATEWAY_SUBJECT
    )
    return page_azure


def test_page_of_a_gateways_exchange_says_how_to_find_the_workload(page_azure: SmallAzure) -> None:
    """The correlation id and the command are there without an attached cluster, also for a refusal."""
    page = page_azure.client.get(_exchange(page_azure))
    assert f"Correlation ID {ID}" in _text(page)
    assert f"grep {ID}" in _text(page)
    assert "Find the workload" not in _text(page)
    assert page_azure.client.get(f"/exchanges/{ID}").body.count(ID.encode()) == page.body.count(ID.encode())


def test_page_of_another_exchange_says_nothing_about_a_gateway(page_azure: SmallAzure) -> None:
    page = _text(page_azure.client.get(_exchange(page_azure, sub="system:serviceaccount:kube-system:wi-demo-sa")))
    assert f"Correlation ID {ID}" in page
    assert "gateway" not in page


def test_exchange_without_a_correlation_id_is_a_renewal(attached: SmallAzure) -> None:
    """There is no workload to look for."""
    page = _text(attached.client.get(_exchange(attached, correlation_id="")))
    assert "renewed the token in the background" in page
    assert "kubectl" not in page
    assert "Find the workload" not in page


def test_button_shows_the_workload(attached: SmallAzure, cluster: Cluster) -> None:
    """Namespace, service account, pod and node come from the audit line; looking at the page asks nobody."""
    cluster.logs = {"wisp-gateway-a": [{**LINE, "clientId": attached.identity.client_id}]}
    path = _exchange(attached)
    assert "Find the workload" in _text(attached.client.get(path))
    assert cluster.asked == []
    answer = _press(attached, path)
    assert answer.status == 200
    assert "2025-10-09T08:53:20.125Z shop cart cart-1 node-1 granted" in _text(answer)


def test_button_says_why_there_is_no_workload(attached: SmallAzure, cluster: Cluster) -> None:
    """No line, or no log."""
    path = _exchange(attached)
    assert "have no audit line for this request" in _text(_press(attached, path))
    cluster.logs = {"wisp-gateway-a": 403}
    assert "The log of pod wisp-gateway-a cannot be read (status 403)." in _text(_press(attached, path))


def test_hostile_audit_line_is_escaped(attached: SmallAzure, cluster: Cluster) -> None:
    """What is in a log is text."""
    script = "<script>alert(1)</script>\u202e"
    cluster.logs = {"wisp-gateway-a": [{**LINE, "clientId": attached.identity.client_id, "pod": script}]}
    body = _press(attached, _exchange(attached)).body.decode()
    assert "<script>alert" not in body
    assert "[U+202E]" in body


def test_clusters_credentials_are_not_used_for_whoever_claims_to_be_its_gateway(
    attached: SmallAzure, cluster: Cluster
) -> None:
    """Anybody can send an assertion with the issuer of the cluster; only its key makes it the cluster's."""
    forged = type(attached.issuer.keys[0])(attached.issuer.keys[0].key_id, new_rsa_key(), {})
    assertion = forged.sign({}, attached.claims(sub=GATEWAY_SUBJECT)).reveal()
    form = attached.form(client_assertion=assertion)
    attached.client.post(f"/{attached.tenant}/oauth2/v2.0/token", form, **{"client-request-id": ID})
    page = attached.client.get(f"/exchanges/{ID}")
    assert "Find the workload" not in _text(page)
    assert _press(attached, f"/exchanges/{ID}").status in (403, 404)
    assert cluster.asked == []


def test_button_works_only_on_the_page_and_on_this_machine(
    attached: SmallAzure, cluster: Cluster, app: ASGIApp
) -> None:
    """As for tokens: another site has no mark, and another machine is refused."""
    path = _exchange(attached)
    assert attached.client.post(f"{path}/callers", {"mark": "0" * 64}).status == 403
    with Client(ComingFrom(app, "192.0.2.1"), HOST) as client:
        assert client.post(f"{path}/callers", {}).status == 403
    assert attached.client.post("/exchanges/absent/callers", {}).status == 404
    assert attached.client.post(f"{path}/callers", {}, sec_fetch_site="cross-site").status == 403
    assert cluster.asked == []
