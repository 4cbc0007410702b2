"""Exchanges with an authority that misbehaves, and which certificates are trusted."""

import shutil
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.authority import Authority, Last, answer, grants, in_turn
from tests.support.fakes import ASK, jwt
from wisp.entra.exchange.endpoint import DIRECT, VIA_TOKEN_PROXY, TokenEndpoint
from wisp.entra.messages import Granted, Refused, TokenKey
from wisp.entra.process import DEADLINE
from wisp.entra.settings import ExchangeSettings
from wisp_local.cloud.state.authority import new_authority

ASSERTION = jwt(sub="system:serviceaccount:default:default")


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return an authority that grants tokens."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> ExchangeSettings:
    """Return the settings for the authority."""
    file = tmp_path / "token"
    file.write_text(ASSERTION)
    return ExchangeSettings(None, "tenant", str(file), authority.url, str(authority.ca_file))


@pytest.fixture
def endpoint(settings: ExchangeSettings) -> Generator[TokenEndpoint]:
    """Return the endpoint as the process creates it."""
    endpoint = TokenEndpoint(settings)
    yield endpoint
    endpoint.close()


def refusal(endpoint: TokenEndpoint) -> Refused:
    """Return the refusal of an exchange."""
    result = endpoint.exchange(ASK)
    assert isinstance(result, Refused)
    assert ASSERTION not in result.description
    return result


def test_idle_connection_is_reused_and_replaced_after_its_end(endpoint: TokenEndpoint, authority: Authority) -> None:
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert authority.connections == 1
    authority.hang_up()
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert authority.connections == 2


@pytest.mark.parametrize("limits", [DIRECT, VIA_TOKEN_PROXY], ids=["Entra", "custom token endpoint"])
def test_endpoint_has_less_time_than_the_exchange(limits: tuple[float, float]) -> None:
    """A token endpoint that does not answer is reported, instead of an exchange process that hangs."""
    assert sum(limits) < DEADLINE


def test_custom_token_endpoint_has_time_to_report_that_entra_does_not_answer() -> None:
    assert VIA_TOKEN_PROXY[1] > DIRECT[1]


CLAIMS = '{"access_token": {"nbf":{"essential":true, "value":"1604106651"}}, "é":1}'
REQUEST_ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


@pytest.mark.parametrize(
    "key, sent",
    [
        pytest.param(ASK, None, id="none"),
        pytest.param(ASK._replace(claims=CLAIMS), CLAIMS, id="a claims request, as it is"),
        pytest.param(
            ASK._replace(capabilities="CP1"), '{"access_token": {"xms_cc": {"values": ["CP1"]}}}', id="capabilities"
        ),
        pytest.param(ASK._replace(capabilities="CP1", claims=CLAIMS), CLAIMS, id="a claims request and capabilities"),
    ],
)
def test_claims_of_the_key_are_sent(
    endpoint: TokenEndpoint, authority: Authority, key: TokenKey, sent: str | None
) -> None:
    assert isinstance(endpoint.exchange(key), Granted)
    assert authority.posts[0].form.get("claims") == (None if sent is None else [sent])


def test_tenant_of_the_key_replaces_the_one_in_the_settings(endpoint: TokenEndpoint, authority: Authority) -> None:
    """Over the same connection."""
    for tenant in ("", "contoso.example", ""):
        assert isinstance(endpoint.exchange(ASK._replace(tenant=tenant)), Granted)
    assert [post.line.split("/")[1] for post in authority.posts] == ["tenant", "contoso.example", "tenant"]
    assert authority.connections == 1


def test_scope_is_sent_as_it_is(endpoint: TokenEndpoint, authority: Authority) -> None:
    endpoint.exchange(ASK._replace(resource="https://database.windows.net//.default"))
    assert authority.posts[0].form["scope"] == ["https://database.windows.net//.default"]


def test_entra_gets_no_cache_control(endpoint: TokenEndpoint, authority: Authority) -> None:
    endpoint.exchange(ASK._replace(newer=True))
    assert "cache-control" not in authority.posts[0].headers


def test_request_id_is_sent_to_entra(endpoint: TokenEndpoint, authority: Authority) -> None:
    endpoint.exchange(ASK)
    endpoint.exchange(ASK, REQUEST_ID)
    assert [post.headers.get("client-request-id") for post in authority.posts] == [None, REQUEST_ID]


@pytest.mark.parametrize(
    "reused, times, requests",
    [
        pytest.param(True, 1, 2, id="a reused connection"),
        pytest.param(True, 2, 2, id="a reused connection, then another"),
        pytest.param(False, 1, 1, id="a new connection"),
    ],
)
def test_request_on_a_closing_reused_connection_is_repeated_once(
    endpoint: TokenEndpoint,
    authority: Authority,
    reused: bool,  # noqa: FBT001
    times: int,
    requests: int,
) -> None:
    """A reused connection may have been closing by chance, a new one was not."""
    if reused:
        assert isinstance(endpoint.exchange(ASK), Granted)
        authority.posts.clear()
    authority.behaviour = in_turn(*[lambda _: None] * times, grants)
    result = endpoint.exchange(ASK)
    assert isinstance(result, Granted) is (times < requests)
    assert len(authority.posts) == requests


TRUNCATED = b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"access_token":"eyJhbGciOiJub25lIn0.e30.x"'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
HUGE = answer(200, {"access_token": "x" * (1 << 20), "expires_in": 3600})


@pytest.mark.parametrize(
    "response, status",
    [
        pytest.param(None, 503, id="a connection closed without a word"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", 503, id="another protocol"),
        pytest.param(TRUNCATED, 503, id="a body cut short"),
        pytest.param(CHUNKED, 503, id="broken chunks"),
        pytest.param(HUGE, 503, id="a body of a megabyte"),
        pytest.param(answer(200, ["x"]), 503, id="JSON that is not an object"),
        pytest.param(answer(200, {}, "Content-Encoding: gzip"), 503, id="a body that is not what it says"),
        pytest.param(answer(302, {}, "Location: https://elsewhere.test/"), 503, id="a redirect"),
        pytest.param(answer(500, {}), 503, id="500"),
        pytest.param(answer(400, {"error": "invalid_client"}), 400, id="a refusal"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(401, {"error": "invalid_client"}), 401, id="100 first"),
    ],
)
def test_malformed_response_is_refused_and_the_next_exchange_works(
    endpoint: TokenEndpoint, authority: Authority, response: bytes | None, status: int
) -> None:
    authority.behaviour = lambda _: None if response is None else Last(response)
    assert refusal(endpoint).status == status
    authority.behaviour = grants
    assert isinstance(endpoint.exchange(ASK), Granted)


@pytest.mark.parametrize("times", [1, 3])
def test_rest_of_a_huge_response_is_not_read_as_the_next(
    endpoint: TokenEndpoint, authority: Authority, times: int
) -> None:
    authority.behaviour = lambda _: HUGE
    for _ in range(times):
        assert "usable access_token" in refusal(endpoint).description
    authority.behaviour = grants
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_refused_connection_is_reported(settings: ExchangeSettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = TokenEndpoint(settings._replace(authority=f"https://127.0.0.1:{port}/"))
    assert "the connection was refused" in refusal(endpoint).description
    with Authority(tmp_path, port=port):
        assert isinstance(endpoint.exchange(ASK), Granted)
        endpoint.close()


def test_name_that_does_not_resolve_is_reported(settings: ExchangeSettings) -> None:
    """The name does not exist (RFC 2606)."""
    refused = refusal(TokenEndpoint(settings._replace(authority="https://login.invalid/")))
    assert "name cannot be resolved" in refused.description


def test_server_without_tls_gets_no_assertion(settings: ExchangeSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_speak_plainly, args=(listener,))
        thread.start()
        refused = refusal(TokenEndpoint(settings._replace(authority=f"https://127.0.0.1:{listener.getsockname()[1]}/")))
        thread.join()
    assert "TLS" in refused.description or "SSL" in refused.description


def _speak_plainly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_untrusted_certificate_is_refused(settings: ExchangeSettings) -> None:
    """The message has a hint."""
    refused = refusal(TokenEndpoint(settings._replace(authority_ca=None)))
    assert "not trusted" in refused.description
    assert "--authority-ca or SSL_CERT_FILE" in refused.description


def test_ca_certificate_can_be_given_as_pem_text(settings: ExchangeSettings, authority: Authority) -> None:
    """Text that only looks like PEM is reported, not ignored."""
    pem = authority.ca_file.read_text()
    endpoint = TokenEndpoint(settings._replace(authority_ca=None, authority_ca_data=pem))
    assert isinstance(endpoint.exchange(ASK), Granted)
    endpoint.close()
    spoiled = settings._replace(authority_ca_data="-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n")
    assert refusal(TokenEndpoint(spoiled)).description.startswith(
        "WISP_AUTHORITY_CA_DATA cannot be used: it holds no cert"
    )


def test_certificate_for_another_name_is_refused(settings: ExchangeSettings) -> None:
    endpoint = TokenEndpoint(settings._replace(authority=settings.authority.replace("127.0.0.1", "localhost")))
    assert "not trusted (Hostname mismatch" in refusal(endpoint).description


def test_replaced_ca_file_is_used_for_the_next_exchange(
    endpoint: TokenEndpoint, authority: Authority, tmp_path: Path
) -> None:
    """A file that is no longer valid counts too."""
    good = authority.ca_file.read_bytes()
    authority.ca_file.write_bytes(new_authority(time.time()).certificate_pem)
    assert "not trusted" in refusal(endpoint).description
    shutil.copy(authority.ca_file, tmp_path / "other.pem")
    authority.ca_file.write_bytes(good)
    assert isinstance(endpoint.exchange(ASK), Granted)
    (tmp_path / "other.pem").rename(authority.ca_file)
    assert "not trusted" in refusal(endpoint).description


@pytest.mark.parametrize(
    "content, why",
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param(b"", "no certificate", id="empty"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n", "no certificate", id="garbage"),
    ],
)
def test_bad_ca_file_is_reported_until_it_is_fixed(
    endpoint: TokenEndpoint, authority: Authority, content: bytes | None, why: str
) -> None:
    good = authority.ca_file.read_bytes()
    authority.ca_file.unlink()
    if content is not None:
        authority.ca_file.write_bytes(content)
    refused = refusal(endpoint)
    assert f"{authority.ca_file} (--authority-ca) cannot be used" in refused.description
    assert why in refused.description
    authority.ca_file.write_bytes(good)
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_system_ca_file_is_read_again_when_it_changes(
    settings: ExchangeSettings, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is honoured."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(new_authority(time.time()).certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    endpoint = TokenEndpoint(settings._replace(authority_ca=None))
    assert "not trusted" in refusal(endpoint).description
    bundle.write_bytes(authority.ca_file.read_bytes())
    assert isinstance(endpoint.exchange(ASK), Granted)
    endpoint.close()


def test_retry_after_of_a_429_is_returned(endpoint: TokenEndpoint, authority: Authority) -> None:
    authority.behaviour = lambda _: answer(429, {}, "Retry-After: 17")
    refused = refusal(endpoint)
    assert (refused.status, refused.retry_after) == (429, 17.0)


def test_rotated_token_file_is_followed(
    endpoint: TokenEndpoint, authority: Authority, tmp_path: Path, settings: ExchangeSettings
) -> None:
    """The file is a link into `..data`, which the kubelet replaces."""
    file = Path(settings.token_file)
    file.unlink()
    file.symlink_to("..data/token")
    assertions = [jwt(jti=str(number)) for number in range(3)]
    for number, assertion in enumerate(assertions):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "token").write_text(assertion)
        (tmp_path / "..data_tmp").symlink_to(f"..{number}")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert isinstance(endpoint.exchange(ASK), Granted)
    assert [post.form["client_assertion"] for post in authority.posts] == [[assertion] for assertion in assertions]
