"""Requests to a gateway process: those that SDKs send, and those that none sends; what is answered and recorded."""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.unit.wisp.gateway.process import (
    CLIENT_ID,
    PATH,
    TENANT,
    GatewayAnswer,
    RunningGateway,
    form,
    gateway,
    surroundings,
)
from tests.unit.wisp.gateway.token_requests import ASSERTION, RECORDED, Recorded
from tests.unit.wisp.gateway.token_requests import CLIENT_ID as RECORDED_CLIENT_ID
from tests.unit.wisp.gateway.token_requests import TENANT as RECORDED_TENANT
from wisp.http.messages import Request

pytestmark = pytest.mark.system

_FIELDS = ["error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"]
_TYPE = b"Content-Type: application/x-www-form-urlencoded\r\n"
_MEBIBYTE = 1024 * 1024


@pytest.fixture(name="running", scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    flags = ("--tenant", TENANT, "--tenant", RECORDED_TENANT, "--caller-rate", "0")
    with surroundings(folder) as (api, entra), gateway(api, entra, folder, *flags) as running:
        running.await_ready()
        yield running


@pytest.fixture(name="assertion", scope="module")
def _assertion(running: RunningGateway) -> str:
    """Return the token of a pod that may use both identities."""
    pod = running.callers.pod("shop", "api", granted=CLIENT_ID)
    running.callers.grants.add((RECORDED_CLIENT_ID, pod.username))
    return running.callers.token(pod)


def sent(running: RunningGateway, *pieces: bytes) -> GatewayAnswer:
    """Send bytes and return the first answer. The gateway need not read all of them."""
    with running.connect() as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.socket.sendall(piece)
        response = http.client.HTTPResponse(connection.socket)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return GatewayAnswer(response.status, headers, json.loads(response.read()))


def head(*, method: bytes = b"POST", target: bytes = PATH.encode(), headers: bytes = _TYPE, body: bytes = b"") -> bytes:
    """Return a request."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"%b %b HTTP/1.1\r\nHost: x\r\n%b%b\r\n%b" % (method, target, headers, length, body)


def as_sent(request: Request, assertion: str) -> bytes:
    """Return the bytes of a recorded request, with another assertion."""
    body = request.body.replace(ASSERTION.encode(), assertion.encode())
    headers = b"".join(b"%b: %b\r\n" % pair for pair in request.headers if pair[0] != b"host")
    return head(method=request.method, target=request.target, headers=headers, body=body)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
def test_requests_of_azure_sdks_get_a_token(running: RunningGateway, assertion: str, recorded: Recorded) -> None:
    """Entra gets the claims request as it was sent, and one scope."""
    answer = sent(running, as_sent(recorded.request, assertion))
    assert answer.status == 200, answer
    assert list(answer.document) == ["token_type", "expires_in", "ext_expires_in", "refresh_in", "access_token"]
    keys = [(post.form["scope"], post.form.get("claims", [""])) for post in running.entra.posts]
    assert (["https://vault.azure.net/.default"], [recorded.claims]) in keys


_HOSTILE = {
    "no body": (head(), 400, [900144]),
    "3 MiB by length": (head(headers=_TYPE + b"Content-Length: 3145728\r\n") + b"a" * 3 * _MEBIBYTE, 413, []),
    "3 MiB in chunks": (
        head(headers=_TYPE + b"Transfer-Encoding: chunked\r\n") + (b"10000\r\n" + b"a" * 65_536 + b"\r\n") * 48,
        413,
        [],
    ),
    "64 KiB of ampersands": (head(body=b"&" * 65_536), 400, [9002313]),
    "64 KiB of escapes": (head(body=b"scope=" + b"%41" * 21_000), 400, [900144]),
    "JSON": (head(headers=b"Content-Type: application/json\r\n", body=b"{}"), 400, [900144]),
    "NULs": (head(body=b"\0" * 1_000), 400, [900144]),
    "not UTF-8": (head(body=b"client_id=\xff\xfe&scope=\xff"), 400, [900144]),
    "GET": (head(method=b"GET", headers=b""), 405, [900561]),
    "PUT": (head(method=b"PUT", body=b"a=b"), 405, [900561]),
    "unknown method": (head(method=b"STEAL"), 405, []),
    "another tenant": (
        head(target=b"/99999999-9999-4999-8999-999999999999/oauth2/v2.0/token", body=b"a"),
        400,
        [90002],
    ),
    "parent folder as tenant": (head(target=b"/../oauth2/v2.0/token", body=b"a"), 400, [900023]),
    "escaped tenant": (head(target=b"/%2e%2e%2f/oauth2/v2.0/token", body=b"a"), 400, [900023]),
    "long target": (head(target=b"/" + b"a" * 100_000, body=b"a"), 414, []),
    "another path": (head(target=b"/metadata/identity/oauth2/token", body=b"a"), 404, []),
    "smuggled length": (
        head(headers=_TYPE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", body=b"a"),
        400,
        [],
    ),
    "not HTTP": (b"\x00\x01\x02\x03\r\n\r\n", 400, []),
}


@pytest.mark.parametrize("data, status, codes", _HOSTILE.values(), ids=_HOSTILE)
def test_hostile_request_is_refused_in_entras_format(
    running: RunningGateway, data: bytes, status: int, codes: list[int]
) -> None:
    """Whatever is wrong with it. The gateway goes on, and asks the API server nothing."""
    reviews = running.metric('wisp_gateway_reviews_total{kind="token",result="denied"}')
    answer = sent(running, *(data[at : at + 65_536] for at in range(0, len(data), 65_536)))
    assert (answer.status, list(answer.document)) == (status, _FIELDS), answer
    assert answer.document["error_codes"] == codes
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-ms-request-id"] == answer.document["trace_id"]
    assert running.metric('wisp_gateway_reviews_total{kind="token",result="denied"}') == reviews
    assert running.health("/readyz")[0] == 200


@pytest.mark.parametrize(
    "client_id",
    [f"{{{CLIENT_ID}}}", f" {CLIENT_ID}", f"{CLIENT_ID}/", f"../{CLIENT_ID}", f"{CLIENT_ID}\0", "*", "é" * 36],
)
def test_client_id_that_is_not_a_guid_is_never_asked_for(
    running: RunningGateway, assertion: str, client_id: str
) -> None:
    """RBAC has no say in it."""
    accesses = running.metric('wisp_gateway_reviews_total{kind="access",result="denied"}')
    answer = running.post(form(assertion, client_id))
    assert (answer.status, answer.document["error_codes"]) == (400, [700016])
    assert running.metric('wisp_gateway_reviews_total{kind="access",result="denied"}') == accesses


def test_client_id_in_upper_case_is_the_same_identity(running: RunningGateway, assertion: str) -> None:
    """RBAC's rule is in lower case."""
    upper = "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"
    running.callers.grants.add((upper.lower(), "system:serviceaccounts:shop"))
    answer = running.post(form(assertion, upper))
    assert answer.status == 200, answer
    assert running.entra.posts[-1].form["client_id"] == [upper.lower()]


def test_every_decision_has_an_audit_line(running: RunningGateway, assertion: str) -> None:
    """With the caller if it is known, and the id that its answer has."""
    before = len(running.audit)
    ids = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(3)]
    other = "33333333-3333-4333-8333-333333333333"
    assert running.post(form(assertion), client_request_id=ids[0]).headers["client-request-id"] == ids[0]
    assert running.post(form(assertion, other), client_request_id=ids[1]).document["correlation_id"] == ids[1]
    assert running.post(b"a=b", client_request_id=ids[2]).status == 400
    wait_until(lambda: len(running.audit) >= before + 3, "the lines arrive")
    granted, forbidden, malformed = running.audit[before:]
    assert [line["correlationId"] for line in (granted, forbidden, malformed)] == ids
    assert [line["result"] for line in (granted, forbidden, malformed)] == ["granted", "forbidden", "invalid_request"]
    assert (granted["namespace"], granted["serviceAccount"], granted["node"]) == ("shop", "api", "node-1")
    assert granted["pod"].startswith("api-")
    assert (granted["clientId"], granted["tenant"], granted["source"]) == (CLIENT_ID, TENANT, "127.0.0.1")
    assert (forbidden["user"], forbidden["clientId"]) == ("system:serviceaccount:shop:api", other)
    assert (forbidden["status"], forbidden["code"]) == (401, None)
    assert f"clusterrolebinding wisp-gateway:{other}:shop:api" in forbidden["reason"]
    assert (malformed["user"], malformed["clientId"], malformed["code"]) == ("", "", 900144)


def test_nothing_that_is_written_holds_a_token(running: RunningGateway, assertion: str) -> None:
    """Even if a client has put it into the wrong field."""
    token = running.post(form(assertion)).document["access_token"]
    for fields in ({"scope": assertion}, {"grant_type": assertion}, {"claims": assertion}):
        assert running.post(form(assertion, **fields)).status == 400
    assert running.post(form(assertion), path=f"/{assertion}/oauth2/v2.0/token").status == 400
    assert running.post(form(assertion, assertion)).status == 400
    text = json.dumps([running.audit, running.log]) + running.health("/metrics")[1]
    for secret in (assertion, token):
        for part in secret.split(".")[1:]:
            assert part not in text


def test_caller_that_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    """Others are not: limits are counted for each pod."""
    with surroundings(tmp_path) as (api, entra), gateway(api, entra, tmp_path, "--caller-rate", "0.001") as running:
        running.await_ready()
        first, second = (
            form(running.callers.token(running.callers.pod(name, granted=CLIENT_ID))) for name in ("a", "b")
        )
        assert running.post(first).status == 200
        refused = running.post(first)
        assert (refused.status, refused.document["error"]) == (429, "too_many_requests")
        assert re.fullmatch("[0-9]{2,4}", refused.headers["retry-after"])
        assert running.post(second).status == 200
        assert running.metric('wisp_gateway_requests_total{result="throttled"}') == 1
        assert running.metric("wisp_gateway_callers") == 2
