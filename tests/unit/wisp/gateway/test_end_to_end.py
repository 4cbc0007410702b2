"""Token requests to a gateway process, with an API server and an Entra that the test controls."""

import base64
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.authority import Post, grants, in_turn, refuses
from tests.support.waiting import wait_until
from tests.unit.wisp.gateway.process import (
    CLIENT_ID,
    PATH,
    SUBJECT,
    TENANT,
    GatewayAnswer,
    GatewayConnection,
    RunningGateway,
    form,
    gateway,
    surroundings,
    write_certificate,
)
from tests.unit.wisp.kubernetes.callers import ISSUER, TERMINATING, Callers

pytestmark = pytest.mark.system

OTHER_ID = "33333333-3333-4333-8333-333333333333"


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[RunningGateway]:
    with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path) as running:
        running.await_ready()
        yield running


def granted_token(running: RunningGateway, **options: float) -> str:
    """Return the token of a pod that may use the identity."""
    callers = running.callers
    return callers.token(callers.pod(granted=CLIENT_ID), **options)  # type: ignore[arg-type]  # seconds alone


def refused(answer: GatewayAnswer, status: int, error: str) -> str:
    """Return the text of a refusal in Entra's format."""
    assert (answer.status, answer.document["error"]) == (status, error), answer
    assert set(answer.document) >= {"error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}
    assert "access_token" not in answer.document
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    text: str = answer.document["error_description"]
    return text


class TestGrants:
    """Callers that RBAC allows to use the identity."""

    def test_granted_caller_gets_the_identitys_token(self, running: RunningGateway) -> None:
        pod = running.callers.pod("shop", "web", granted=CLIENT_ID)
        answer = running.post(
            form(running.callers.token(pod)), client_request_id="aaaaaaaa-0000-4000-8000-000000000001"
        )
        assert answer.status == 200, answer
        assert answer.document["token_type"] == "Bearer"
        (post,) = running.entra.posts
        assert post.line == f"POST {PATH} HTTP/1.1"
        assert post.form["client_id"] == [CLIENT_ID]
        assert post.form["client_assertion"] == [(running.folder / "azure-identity-token").read_text()]
        wait_until(lambda: len(running.audit) == 1, "it is audited")
        (line,) = running.audit
        assert line["result"] == "granted"
        assert (line["namespace"], line["serviceAccount"], line["pod"], line["podUid"]) == pod[:4]
        assert (line["clientId"], line["correlationId"]) == (CLIENT_ID, "aaaaaaaa-0000-4000-8000-000000000001")
        assert line["source"] == "127.0.0.1"

    def test_second_request_needs_neither_review_nor_exchange(self, running: RunningGateway) -> None:
        body = form(granted_token(running))
        with running.connect() as connection:
            first = connection.post(body)
            reviews = running.api.world.count_requests("review")
            second = connection.post(body)
        assert first.document["access_token"] == second.document["access_token"]
        assert running.api.world.count_requests("review") == reviews
        assert len(running.entra.posts) == 1
        assert running.metric('wisp_gateway_cache_hits_total{cache="token"}') == 1

    def test_a_thousand_callers_of_an_identity_cause_one_exchange(self, running: RunningGateway) -> None:
        """Entra answers when all of them wait."""
        bodies = [form(granted_token(running)) for _ in range(1000)]
        held = threading.Event()

        def behave(post: Post) -> bytes:
            held.wait(20)
            return grants(post)

        running.entra.behaviour = behave
        context = running.trusting()
        with ThreadPoolExecutor(100) as pool:
            connections = list(pool.map(lambda _: GatewayConnection(running.port, context), range(100)))
            answers = [
                pool.submit(lambda number: [connections[number].post(body) for body in bodies[number::100]], number)
                for number in range(100)
            ]
            wait_until(lambda: running.entra.posts, "an exchange begins")
            wait_until(lambda: running.api.world.count_requests("subjectaccessreviews") >= 100, "all ask")
            held.set()
            statuses = [answer.status for waiting in answers for answer in waiting.result()]
        for connection in connections:
            connection.close()
        assert statuses == [200] * 1000
        assert len(running.entra.posts) == 1

    def test_discovery_is_answered(self, running: RunningGateway) -> None:
        answer = running.post(b"", f"/{TENANT}/v2.0/.well-known/openid-configuration", "GET")
        assert answer.document["token_endpoint"] == f"{running.entra.url.rstrip('/')}{PATH}"


Preparation: TypeAlias = Callable[[Callers], str]


def _of_a_deleted_account(callers: Callers) -> str:
    pod = callers.pod(service_account="gone", granted=CLIENT_ID)
    callers.deleted[pod.username] = time.time() - TERMINATING
    return callers.token(pod)


def _of_a_deleted_pod(callers: Callers) -> str:
    pod = callers.pod(granted=CLIENT_ID)
    callers.deleted[pod.uid] = time.time() - TERMINATING
    return callers.token(pod)


def _changed(callers: Callers) -> str:
    """Return a token whose claims say another service account than was signed."""
    head, claims, signature = callers.token(callers.pod(granted=CLIENT_ID)).split(".")
    fields = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**fields, "sub": SUBJECT}).encode()).decode().rstrip("=")
    return f"{head}.{changed}.{signature}"


STRANGERS: dict[str, Preparation] = {
    "of a pod without a grant's audience": lambda callers: callers.token(
        callers.pod(granted=CLIENT_ID), audience="https://kubernetes.default.svc"
    ),
    "for Entra": lambda callers: callers.token(callers.pod(granted=CLIENT_ID), audience="api://AzureADTokenExchange"),
    "expired": lambda callers: callers.token(callers.pod(granted=CLIENT_ID), seconds=-1),
    "of another cluster": lambda _: Callers().token(Callers().pod(granted=CLIENT_ID)),
    "of a deleted pod": _of_a_deleted_pod,
    "of a deleted service account": _of_a_deleted_account,
    "unsigned": lambda callers: callers.token(callers.pod(granted=CLIENT_ID)).rpartition(".")[0] + ".",
    "changed": _changed,
    "opaque": lambda _: "secret",
}


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Return a gateway whose identity has a token already, so that a hole would show at once."""
    folder = tmp_path_factory.mktemp("gateway")
    with surroundings(folder) as (api, entra), gateway(api, entra, folder, "--caller-rate", "0") as running:
        running.await_ready()
        assert running.post(form(granted_token(running))).status == 200
        yield running


class TestRefusals:
    """Callers that get no token."""

    @pytest.mark.parametrize("prepare", STRANGERS.values(), ids=STRANGERS)
    def test_token_that_is_not_a_callers_gets_nothing(self, shared: RunningGateway, prepare: Preparation) -> None:
        token = prepare(shared.callers)
        text = refused(shared.post(form(token)), 401, "invalid_client")
        assert token not in text
        assert text.startswith("wisp gateway: ")

    def test_token_of_a_terminating_pod_is_good_for_a_minute(self, shared: RunningGateway) -> None:
        """Kubernetes accepts it for 60 seconds after the pod's deletion time."""
        pod = shared.callers.pod(granted=CLIENT_ID)
        token = shared.callers.token(pod)
        shared.callers.deleted[pod.uid] = time.time()
        assert shared.post(form(token)).status == 200

    def test_caller_without_a_grant_gets_the_command_that_grants(self, shared: RunningGateway) -> None:
        pod = shared.callers.pod("shop", "till")
        text = refused(shared.post(form(shared.callers.token(pod))), 401, "invalid_client")
        assert "system:serviceaccount:shop:till may not use the managed identity" in text
        assert f"wisp-gateway:{CLIENT_ID}:shop:till" in text

    def test_grant_for_one_identity_is_not_one_for_another(self, shared: RunningGateway) -> None:
        token = granted_token(shared)
        assert shared.post(form(token)).status == 200
        refused(shared.post(form(token, OTHER_ID)), 401, "invalid_client")

    @pytest.mark.parametrize(
        "client_id",
        [f"{{{CLIENT_ID}}}", f" {CLIENT_ID}", CLIENT_ID + "/x", "../" + CLIENT_ID, CLIENT_ID.replace("-", ""), "*", ""],
    )
    def test_client_id_that_is_not_a_guid_is_refused(self, shared: RunningGateway, client_id: str) -> None:
        before = shared.api.world.count_requests("review")
        assert shared.post(form(granted_token(shared), client_id)).status == 400
        assert shared.api.world.count_requests("review") == before

    def test_case_of_a_client_id_does_not_matter(self, shared: RunningGateway) -> None:
        identity = "abcdefab-cdef-4bcd-8bcd-abcdefabcdef"
        token = shared.callers.token(shared.callers.pod(granted=identity))
        assert shared.post(form(token, identity.upper())).status == 200
        assert shared.post(form(token, identity.title())).status == 200

    def test_another_tenant_is_refused(self, shared: RunningGateway) -> None:
        answer = shared.post(form(granted_token(shared)), f"/{OTHER_ID}/oauth2/v2.0/token")
        assert answer.document["error_codes"] == [90002]

    def test_body_of_three_mebibytes_is_refused(self, shared: RunningGateway) -> None:
        with shared.connect() as connection:
            connection.socket.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n".encode())
            assert connection.socket.recv(65536).startswith(b"HTTP/1.1 413 ")

    def test_replay_after_the_grant_is_gone_is_refused(self, tmp_path: Path) -> None:
        with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path, "--grant-seconds", "0.5") as running:
            running.await_ready()
            body = form(granted_token(running))
            assert running.post(body).status == 200
            running.callers.grants.clear()
            wait_until(lambda: running.post(body).status == 401, "the grant is forgotten")

    def test_caller_that_asks_too_often_is_throttled_alone(self, tmp_path: Path) -> None:
        with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path, "--caller-rate", "0.1") as running:
            running.await_ready()
            body, other = form(granted_token(running)), form(granted_token(running))
            assert running.post(body).status == 200
            text = refused(running.post(body), 429, "too_many_requests")
            assert "cache tokens until they expire" in text
            assert running.post(other).status == 200

    def test_refusal_of_entra_is_passed_on_with_the_command_that_federates(self, running: RunningGateway) -> None:
        running.entra.behaviour = refuses(401, 700213)
        answer = running.post(form(granted_token(running)))
        text = refused(answer, 401, "invalid_client")
        assert answer.document["error_codes"] == [700213]
        assert "az identity federated-credential create" in text
        assert ISSUER in text
        assert SUBJECT in text

    def test_one_identitys_refusal_does_not_affect_another(self, running: RunningGateway) -> None:
        def behave(post: Post) -> bytes | None:
            return (refuses(400, 700016) if post.form["client_id"] == [OTHER_ID] else grants)(post)

        running.entra.behaviour = behave
        pod = running.callers.pod(granted=CLIENT_ID)
        running.callers.grants.add((OTHER_ID, pod.username))
        token = running.callers.token(pod)
        assert running.post(form(token, OTHER_ID)).document["error_codes"] == [700016]
        assert running.post(form(token)).status == 200

    def test_no_token_is_in_log_audit_or_metrics(self, shared: RunningGateway) -> None:
        token = granted_token(shared)
        access_token = shared.post(form(token)).document["access_token"]
        shared.post(form(token, scope=f"{token}/.default", client_request_id=token))  # it has mixed up parameters
        strangers = [prepare(shared.callers) for prepare in STRANGERS.values()]
        for stranger in strangers:
            shared.post(form(stranger))
        wait_until(lambda: sum(line["result"] == "unauthenticated" for line in shared.audit) >= len(strangers), "audit")
        written = json.dumps([shared.log, shared.audit]) + shared.health("/metrics")[1]
        for secret in (token, access_token, *strangers):
            for part in secret.split("."):
                assert len(part) < 20 or part not in written


class TestFaults:
    """The API server, Entra or a client fails."""

    def test_api_server_that_is_away_gives_503_and_no_token(self, running: RunningGateway) -> None:
        assert running.post(form(granted_token(running))).status == 200
        running.api.stop()
        body = form(granted_token(running))
        text = refused(running.post(body), 503, "temporarily_unavailable")
        assert "the API server gave no answer" in text
        running.api.start()
        assert running.post(body).status == 200

    def test_api_server_that_hangs_gives_503_and_no_token(self, running: RunningGateway) -> None:
        body = form(granted_token(running))
        running.callers.latency = 60.0
        text = refused(running.post(body), 503, "temporarily_unavailable")
        assert "it did not answer in time" in text
        running.callers.latency = 0.0
        assert running.post(body).status == 200

    def test_request_is_sent_again_if_a_kept_connection_is_gone(self, running: RunningGateway) -> None:
        assert running.post(form(granted_token(running))).status == 200
        running.api.stop()
        running.api.start()
        assert running.post(form(granted_token(running))).status == 200
        assert not running.events("review failed")

    @pytest.mark.parametrize("path", ["tokenreviews", "subjectaccessreviews"])
    @pytest.mark.parametrize("status", [500, 429, 403, 0], ids=["error", "busy", "forbidden", "hangs up"])
    def test_review_that_fails_gives_no_token(self, shared: RunningGateway, path: str, status: int) -> None:
        body = form(granted_token(shared))
        shared.api.world.fault = lambda _, asked: status if asked.endswith(path) else None
        refused(shared.post(body), 503, "temporarily_unavailable")
        shared.api.world.fault = lambda _, __: None
        assert shared.post(body).status == 200

    def test_entra_that_is_away_gives_503(self, running: RunningGateway) -> None:
        running.entra.behaviour = in_turn(lambda _: None, lambda _: None, grants)
        body = form(granted_token(running))
        refused(running.post(body), 503, "temporarily_unavailable")
        wait_until(lambda: running.post(body).status == 200, "the exchange is tried again")

    def test_client_that_leaves_takes_no_review_from_others(self, running: RunningGateway) -> None:
        running.callers.latency = 0.3
        token = granted_token(running)
        body = form(token)
        with running.connect() as leaving:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            leaving.socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(
                lambda: running.api.world.count_requests("tokenreviews") == 2, "it is reviewed"
            )  # one: the probe
        assert running.post(body).status == 200
        assert running.api.world.count_requests("tokenreviews") == 2
        wait_until(lambda: len(running.audit) == 2, "both are audited")


class TestProcess:
    """Start, certificates and end."""

    def test_readiness_names_what_is_missing(self, tmp_path: Path) -> None:
        with surroundings(tmp_path) as (api, entra):
            api.world.fault = lambda _, path: 403 if path.endswith("reviews") else None
            with gateway(api, entra, tmp_path) as running:
                wait_until(lambda: running.events("no reviews"), "it has asked")
                wait_until(lambda: running.events("certificate in use"), "it has a certificate")
                (tmp_path / "azure-identity-token").unlink()
                os.mkfifo(tmp_path / "azure-identity-token")  # reading it would take forever
                status, text = running.health("/readyz")
                assert (status, text.splitlines()) == (
                    503,
                    ["the gateway's own token cannot be read", "the API server has not reviewed anything yet"],
                )
                assert running.health("/healthz")[0] == 200

    def test_certificate_is_renewed_while_clients_are_served(self, running: RunningGateway) -> None:
        body = form(granted_token(running))
        with running.connect() as before:
            assert before.post(body).status == 200
            write_certificate(running.folder)
            wait_until(lambda: len(running.events("certificate in use")) == 2, "the new certificate is used")
            assert before.post(body).status == 200
        assert running.post(body).status == 200

    def test_gateway_issues_its_own_certificate(self, tmp_path: Path) -> None:
        with surroundings(tmp_path) as (api, entra):
            flags = ("--certificate-secret", "wisp-gateway-certificate")
            with gateway(api, entra, tmp_path, *flags) as running:
                running.await_ready()
                secret = api.world.get("secrets", "wisp-gateway-certificate", "wisp")
                context = ssl.create_default_context(cadata=base64.b64decode(secret["data"]["ca.crt"]).decode())
                with running.connect(context) as connection:
                    assert connection.post(form(granted_token(running))).status == 200

    def test_request_under_way_is_answered_when_the_gateway_stops(self, running: RunningGateway) -> None:
        running.callers.latency = 0.5
        body = form(granted_token(running))
        with ThreadPoolExecutor(1) as pool, running.connect() as connection:
            answer = pool.submit(connection.post, body)
            wait_until(lambda: running.api.world.count_requests("tokenreviews") == 2, "it is reviewed")
            running.process.send_signal(signal.SIGTERM)
            assert answer.result().status == 200
        assert running.stop() == 0
        assert running.events("stopped")
        assert len(running.audit) == 1

    def test_no_request_fails_when_the_gateway_stops(self, tmp_path: Path) -> None:
        """New connections come until the Service knows, and each is used until an answer says that it is the last."""
        known = threading.Event()

        def request(_: int) -> list[int]:
            statuses: list[int] = []
            while not known.is_set():
                with GatewayConnection(running.port, context) as connection:
                    answer = None
                    while answer is None or answer.headers.get("connection") != "close":
                        answer = connection.post(body)
                        statuses.append(answer.status)
            return statuses

        flags = ("--shutdown-delay", "3", "--caller-rate", "0")
        with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path, *flags) as running:
            running.await_ready()
            body, context = form(granted_token(running)), running.trusting()
            with ThreadPoolExecutor(8) as pool:
                clients = [pool.submit(request, number) for number in range(8)]
                wait_until(lambda: len(running.audit) > 100, "clients are served")
                running.process.send_signal(signal.SIGTERM)
                wait_until(lambda: running.health("/readyz")[0] == 503, "it says so")
                known.set()
                statuses = [client.result() for client in clients]
            assert running.stop() == 0
        assert {status for found in statuses for status in found} == {200}
        assert all(statuses)
        assert len(running.audit) == sum(map(len, statuses))
