"""Answers in Entra's format: tokens and refusals, as clients and wisp's own sidecar read them."""

import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import token_request as metadata_request
from tests.unit.wisp.gateway.token_requests import CLIENT_ID, CORRELATION_ID
from wisp.base.secret import Secret
from wisp.entra.exchange.interpret import interpret
from wisp.entra.freshness import Token, token_of
from wisp.entra.messages import Granted, Refused, unavailable
from wisp.gateway import answers
from wisp.gateway.answers import Federation
from wisp.gateway.grants import grant_command
from wisp.gateway.types import Caller, Forbidden, TokenRefusal, Unauthenticated, Undecided
from wisp.http.messages import Reject, Response, encode
from wisp.proxy.renderer import Renderer

NOW = 1_000.0
UNIX = 1_700_000_000.0
TIMESTAMP = "2023-11-14 22:13:20Z"
FEDERATION = Federation("https://issuer.example/cluster-1/", "system:serviceaccount:wisp-system:wisp-gateway")
ENTRA_TRACE = "0a1b2c3d-1111-4222-8333-444455556666"
ENTRA_TRAILER = f" Trace ID: {ENTRA_TRACE} Correlation ID: {CLIENT_ID} Timestamp: 2026-01-02 03:04:05Z"
MISMATCH = "AADSTS700213: No matching federated identity record found for presented assertion subject 'system:x'."
CALLER = Caller("system:serviceaccount:shop:api", "u", (), (), "shop", "api", "api-1", "p", "node-1")


def token(lifetime: int, text: str = "eyJ0.eyJ1.c2ln") -> Token:
    """Return a token that arrives at NOW."""
    return token_of(Granted(Secret(text), lifetime), now=NOW, unix=UNIX, spread=0.0)


def granted(lifetime: int, *, age: float = 0.0, correlation_id: str = "0" * 36) -> dict[str, Any]:
    """Return the answer with a token of that age."""
    return document(answers.grant(token(lifetime), correlation_id, now=NOW + age))


def document(response: Response) -> dict[str, Any]:
    """Return the body."""
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found


def refusal(refused: TokenRefusal) -> Response:
    """Return the answer of a refusal."""
    return answers.refusal(refused, CORRELATION_ID, unix=UNIX)


def headers(response: Response) -> dict[str, str]:
    """Return the headers as a client sees them, by their names in lower case."""
    head = encode(response, b"Tue, 14 Nov 2023 22:13:20 GMT").partition(b"\r\n\r\n")[0].decode()
    lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
    assert len({name.lower() for name, _, _ in lines}) == len(lines)
    return {name.lower(): value for name, _, value in lines}


def test_grant_has_entras_fields() -> None:
    """A token of a day has refresh_in, one of an hour has not."""
    assert granted(86_400) == {
        "token_type": "Bearer",
        "expires_in": 86_400,
        "ext_expires_in": 86_400,
        "refresh_in": 43_260,
        "access_token": "eyJ0.eyJ1.c2ln",
    }
    assert list(granted(3_600)) == ["token_type", "expires_in", "ext_expires_in", "access_token"]


def test_grant_is_not_cached_by_others_and_has_the_clients_id() -> None:
    found = headers(answers.grant(token(3_600), CORRELATION_ID, now=NOW))
    assert found["content-type"] == "application/json; charset=utf-8"
    assert found["cache-control"] == "no-store"
    assert found["pragma"] == "no-cache"
    assert found["client-request-id"] == CORRELATION_ID


@pytest.mark.parametrize(
    "age, expires_in, refresh_in",
    [
        (0.5, 86_399, 43_259),
        (43_000, 43_400, 260),
        (43_200, 43_200, 60),
        (60_000, 26_400, 60),
        (86_350, 50, 50),
        (86_399.9, 0, 0),
        (90_000, 0, 0),
    ],
)
def test_clients_refresh_when_the_gateway_has_a_newer_token(age: float, expires_in: int, refresh_in: int) -> None:
    """The gateway renews at half-life; when that fails, clients come back once a minute."""
    found = granted(86_400, age=age)
    assert (found["expires_in"], found["refresh_in"]) == (expires_in, refresh_in)


def test_clients_do_not_refresh_together() -> None:
    """They have the same token: the API server would have to review all of them at once."""
    times = [
        granted(86_400, correlation_id=f"{number:04x}" + "0" * 32)["refresh_in"] for number in range(0, 65_536, 64)
    ]
    assert min(times) == 43_260
    assert 47_500 < max(times) <= 47_586
    assert len(set(times)) > 900


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_any_token_is_written_as_json(text: str) -> None:
    assert document(answers.grant(token(3_600, text), CORRELATION_ID, now=NOW))["access_token"] == text


def test_refusal_has_entras_fields() -> None:
    found = document(refusal(TokenRefusal("invalid_request", 400, "invalid_request", "AADSTS90002: Tenant.", 90002)))
    trace_id = found["trace_id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", trace_id)
    assert found == {
        "error": "invalid_request",
        "error_description": "AADSTS90002: Tenant. "
        f"Trace ID: {trace_id} Correlation ID: {CORRELATION_ID} Timestamp: {TIMESTAMP}",
        "error_codes": [90002],
        "timestamp": TIMESTAMP,
        "trace_id": trace_id,
        "correlation_id": CORRELATION_ID,
        "error_uri": "https://login.microsoftonline.com/error?code=90002",
    }


def test_refusal_of_the_gateway_has_no_code() -> None:
    found = document(refusal(answers.unauthenticated(Unauthenticated("it has expired"))))
    assert found["error"] == "invalid_client"
    assert found["error_codes"] == []
    assert found["error_uri"] == "https://login.microsoftonline.com/error"
    assert found["error_description"].startswith(
        "wisp gateway: the service account token is not valid here: it has expired Trace ID: "
    )


def test_refusal_has_ids_and_is_not_cached() -> None:
    response = refusal(answers.unauthenticated(Unauthenticated("it has expired")))
    found = headers(response)
    assert found["cache-control"] == "no-store"
    assert found["client-request-id"] == CORRELATION_ID
    assert found["x-ms-request-id"] == document(response)["trace_id"]
    assert "retry-after" not in found


@pytest.mark.parametrize(
    "seconds, retry_after",
    [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (29.0000000005, "29"), (3600.0, "3600")],
)
@pytest.mark.parametrize("status", [429, 503])
def test_wait_is_in_whole_seconds(seconds: float | None, retry_after: str, status: int) -> None:
    """At least one, rounded up."""
    refused = TokenRefusal("throttled", status, "too_many_requests", "wisp gateway: x", retry_after=seconds)
    assert headers(refusal(refused))["retry-after"] == retry_after


def test_forbidden_caller_gets_the_command_that_allows_it() -> None:
    """On a line of its own."""
    refused = answers.forbidden(Forbidden(CALLER), CLIENT_ID)
    assert (refused.outcome, refused.status, refused.error, refused.code) == ("forbidden", 401, "invalid_client", None)
    lines = document(refusal(refused))["error_description"].split("\n")
    assert lines[0] == (
        f"wisp gateway: system:serviceaccount:shop:api may not use the managed identity {CLIENT_ID}. To allow it, run:"
    )
    assert lines[1] == grant_command(CLIENT_ID, "shop", "api")
    assert lines[2].startswith("Trace ID: ")


@pytest.mark.parametrize(
    "caller",
    [
        pytest.param(Caller("system:node:a", "u", (), ()), id="not a service account"),
        pytest.param(CALLER._replace(service_account=""), id="name unknown"),
        pytest.param(CALLER._replace(namespace="a;b"), id="impossible name"),
    ],
)
def test_no_command_is_printed_that_would_allow_others(caller: Caller) -> None:
    """Without a name, the command is one for all service accounts."""
    assert answers.forbidden(Forbidden(caller), CLIENT_ID).description == (
        f"wisp gateway: {caller.username} may not use the managed identity {CLIENT_ID}."
    )


def test_undecided_caller_is_told_to_come_back() -> None:
    refused = answers.undecided(Undecided("the API server does not answer", 0.1))
    assert (refused.outcome, refused.status, refused.error) == ("unavailable", 503, "temporarily_unavailable")
    assert headers(refusal(refused))["retry-after"] == "1"


@pytest.mark.parametrize("separator", [" ", "\r\n", "\n"], ids=["spaces", "CRLF", "LF"])
def test_ids_of_entra_are_found_however_they_are_separated(separator: str) -> None:
    """Entra has separated them in each of these ways."""
    text = MISMATCH + ENTRA_TRAILER.replace(" Trace", f"{separator}Trace").replace(" Corr", f"{separator}Corr")
    found = document(refusal(TokenRefusal("refused", 401, "invalid_client", text, 700213)))
    assert (found["error_description"], found["trace_id"]) == (text, ENTRA_TRACE)


@pytest.mark.parametrize("code", [70025, 700211, 700213])
def test_missing_federated_credential_is_refused_with_the_command_that_makes_it(code: int) -> None:
    """Before Entra's ids, which stay as they are: Azure's support asks for them."""
    text = MISMATCH.replace("700213", str(code))
    refused = Refused(401, "invalid_client", text + ENTRA_TRAILER, "refused", code)
    refusal_of_entra = answers.not_exchanged(refused, FEDERATION)
    assert refusal_of_entra[:3] == ("refused", 401, "invalid_client")
    found = document(refusal(refusal_of_entra))
    lines = found["error_description"].split("\n")
    assert lines[0] == f"{text} wisp gateway: to federate the identity with this cluster's gateway, run:"
    assert lines[2] == ENTRA_TRAILER[1:]
    command = shlex.split(lines[1])
    assert command[:4] == ["az", "identity", "federated-credential", "create"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert re.fullmatch("wisp-gateway-[0-9a-f]{8}", options.pop("--name"))
    assert options == {
        "--identity-name": "IDENTITY",
        "--resource-group": "RESOURCE_GROUP",
        "--issuer": FEDERATION.issuer,
        "--subject": FEDERATION.subject,
        "--audiences": "api://AzureADTokenExchange",
    }
    assert (found["trace_id"], found["timestamp"]) == (ENTRA_TRACE, "2026-01-02 03:04:05Z")
    assert found["correlation_id"] == CORRELATION_ID
    assert found["error_codes"] == [code]


def test_credential_is_named_after_the_cluster() -> None:
    """A second cluster's command with the same name would replace the credential of the first."""
    refused = Refused(401, "invalid_client", MISMATCH, "refused", 700213)
    other = FEDERATION._replace(issuer="https://issuer.example/cluster-2/")
    names = [
        re.findall("--name (.+?) ", answers.not_exchanged(refused, federation).description)
        for federation in (FEDERATION, other)
    ]
    assert names[0] != names[1]


def test_command_is_safe_in_a_shell() -> None:
    federation = Federation("https://issuer.example/$(reboot)", "a; reboot")
    description = answers.not_exchanged(
        Refused(401, "invalid_client", MISMATCH, "refused", 700213), federation
    ).description
    assert "--issuer 'https://issuer.example/$(reboot)' --subject 'a; reboot' " in description


@pytest.mark.parametrize("federation", [None, FEDERATION])
def test_other_refusals_of_entra_are_passed_on(federation: Federation | None) -> None:
    text = f"AADSTS700016: Application with identifier 'x' was not found.{ENTRA_TRAILER}"
    found = answers.not_exchanged(Refused(400, "unauthorized_client", text, "refused", 700016), federation)
    assert found == TokenRefusal("refused", 400, "unauthorized_client", text, 700016)
    assert document(refusal(found))["error_description"] == text


def test_entra_that_is_busy_or_away_is_passed_on_with_its_wait() -> None:
    throttled = answers.not_exchanged(
        Refused(429, "too_many_requests", "AADSTS90055: Busy.", "throttled", 90055, 17.0), None
    )
    assert throttled == TokenRefusal("throttled", 429, "too_many_requests", "AADSTS90055: Busy.", 90055, 17.0)
    away = answers.not_exchanged(unavailable("Entra is unavailable: it did not answer in time"), None)
    assert away[:4] == (
        "unavailable",
        503,
        "temporarily_unavailable",
        "wisp gateway: Entra is unavailable: it did not answer in time",
    )
    assert away.retry_after == 1.0


def test_bytes_that_are_not_a_request_are_refused_in_the_same_format() -> None:
    found = document(refusal(answers.rejected(Reject(413, "The request body is larger than 65536 bytes"))))
    assert found["error_description"].startswith("wisp gateway: The request body is larger than 65536 bytes Trace ID: ")


def through_the_sidecar(response: Response) -> Granted | Refused:
    """Return what wisp's sidecar makes of an answer."""
    return interpret(response.status, headers(response).get("retry-after"), response.body, UNIX)


@pytest.mark.parametrize("lifetime", [60, 3_600, 86_400])
def test_sidecar_reads_tokens(lifetime: int) -> None:
    """With the time that is left, and when to refresh."""
    found = through_the_sidecar(answers.grant(token(lifetime), CORRELATION_ID, now=NOW))
    assert isinstance(found, Granted)
    assert found.expires_in == lifetime
    assert (found.refresh_in is None) == (lifetime < 7_200)


@pytest.mark.parametrize(
    "namespace, name", [("shop", "api"), ("n" * 63, "s" * 253)], ids=["usual names", "longest names"]
)
def test_sidecar_passes_the_whole_command_on(namespace: str, name: str) -> None:
    """Its texts are cut at 4,096 characters, and tokens in them are masked."""
    caller = CALLER._replace(
        username=f"system:serviceaccount:{namespace}:{name}", namespace=namespace, service_account=name
    )
    found = through_the_sidecar(refusal(answers.forbidden(Forbidden(caller), CLIENT_ID)))
    assert isinstance(found, Refused)
    assert (found.status, found.error, found.cause, found.passing) == (401, "invalid_client", "refused", False)
    assert grant_command(CLIENT_ID, namespace, name) in found.description.split("\n")
    assert CORRELATION_ID in found.description


def test_sidecar_passes_the_federation_command_on() -> None:
    """With Entra's code, on which the sidecar decides whether waiting helps."""
    refused = answers.not_exchanged(
        Refused(401, "invalid_client", MISMATCH + ENTRA_TRAILER, "refused", 700213), FEDERATION
    )
    found = through_the_sidecar(refusal(refused))
    assert isinstance(found, Refused)
    assert found.aadsts == 700213
    assert f"--subject {FEDERATION.subject} --audiences api://AzureADTokenExchange\n" in found.description


@pytest.mark.parametrize(
    "refused, status",
    [
        (answers.undecided(Undecided("the API server does not answer", 7.0)), 503),
        (TokenRefusal("throttled", 429, "too_many_requests", "wisp gateway: slow down", retry_after=7.0), 429),
        (answers.not_exchanged(unavailable("Entra is unavailable", retry_after=7.0), None), 503),
    ],
)
def test_sidecar_retries_after_the_wait(refused: TokenRefusal, status: int) -> None:
    found = through_the_sidecar(refusal(refused))
    assert isinstance(found, Refused)
    assert (found.status, found.retry_after, found.passing) == (status, 7.0, True)
    assert refused.description in found.description


def test_sidecar_retries_after_an_error_in_the_gateway() -> None:
    found = through_the_sidecar(refusal(answers.internal_error()))
    assert isinstance(found, Refused)
    assert found.passing


def test_application_gets_the_command_from_the_sidecar() -> None:
    """In the error of the metadata service that the sidecar stands for, with its status."""
    found = through_the_sidecar(refusal(answers.forbidden(Forbidden(CALLER), CLIENT_ID)))
    assert isinstance(found, Refused)
    response = Renderer().failure(found, metadata_request())
    assert response.status == 401
    assert grant_command(CLIENT_ID, "shop", "api") in json.loads(response.body)["error_description"].split("\n")


REFUSALS = st.builds(
    TokenRefusal,
    st.just("refused"),
    st.sampled_from([400, 401, 403, 405, 429, 503]),
    st.text(max_size=20),
    st.text(st.characters(), max_size=200) | st.just(MISMATCH + ENTRA_TRAILER),
    st.none() | st.integers(1, 10**9),
    st.none() | st.floats(0, 10**6),
    st.none() | st.text(max_size=20),
)


@given(REFUSALS)
def test_any_refusal_has_all_fields(refused: TokenRefusal) -> None:
    """Texts of Entra's may hold half a surrogate pair, which UTF-8 cannot encode."""
    response = refusal(refused)
    found = document(response)
    assert len(found) == 7 + (refused.claims is not None)
    assert found.get("claims") == refused.claims
    assert found["error"] == refused.error
    assert found["error_description"].startswith(refused.description.rstrip())
    assert found["correlation_id"] == CORRELATION_ID
    assert ("retry-after" in headers(response)) == (refused.status in (429, 503))


def test_claims_challenge_of_entra_reaches_the_client() -> None:
    """A conditional access policy demands claims; the client adds them to its next request."""
    claims = '{"access_token":{"capolids":{"essential":true,"values":["policy"]}}}'
    refused = Refused(400, "access_denied", "AADSTS53003: Access has been blocked.", "refused", 53003, claims=claims)
    found = document(answers.refusal(answers.not_exchanged(refused, None), CORRELATION_ID, unix=NOW))
    assert (found["claims"], found["error_codes"]) == (claims, [53003])
