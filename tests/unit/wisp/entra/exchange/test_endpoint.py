"""What the exchange process hears from an authority that misbehaves, and whom it trusts."""

import shutil
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.fakes import ASK, jwt
from tests.unit.wisp.proxy.authority import Authority, Last, answer, grants, in_turn
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.messages import Granted, Refused
from wisp.entra.settings import ExchangeSettings
from wisp_local.cloud.state.authority import new_authority

ASSERTION = jwt(sub="system:serviceaccount:default:default")


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Give an Entra that grants."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> ExchangeSettings:
    """Give the settings that go with it."""
    file = tmp_path / "token"
    file.write_text(ASSERTION)
    return ExchangeSettings(None, "tenant", str(file), authority.url, str(authority.ca_file))


@pytest.fixture
def endpoint(settings: ExchangeSettings) -> Generator[TokenEndpoint]:
    """Give the endpoint as the process has it."""
    endpoint = TokenEndpoint(settings)
    yield endpoint
    endpoint.close()


def refusal(endpoint: TokenEndpoint) -> Refused:
    """Return how an exchange is refused."""
    result = endpoint.exchange(ASK)
    assert isinstance(result, Refused)
    assert ASSERTION not in result.description
    return result


def test_an_idle_connection_is_reused_and_replaced_once_it_is_closed(
    endpoint: TokenEndpoint, authority: Authority
) -> None:
    """It is used again, and replaced once the other side has closed it."""
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert authority.connections == 1
    authority.hang_up()
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert authority.connections == 2


@pytest.mark.parametrize(
    "kept, times, requests",
    [
        pytest.param(True, 1, 2, id="a kept connection"),
        pytest.param(True, 2, 2, id="a kept one, then another"),
        pytest.param(False, 1, 1, id="a new connection"),
    ],
)
def test_a_connection_that_closes_at_a_request(
    endpoint: TokenEndpoint,
    authority: Authority,
    kept: bool,  # noqa: FBT001
    times: int,
    requests: int,
) -> None:
    """The other side may have been closing a kept one, so another is tried, once; a new one is not closed by chance."""
    if kept:
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
    "said, status",
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
def test_misbehaviour(endpoint: TokenEndpoint, authority: Authority, said: bytes | None, status: int) -> None:
    """Each is a refusal with a reason; the next exchange works."""
    authority.behaviour = lambda _: None if said is None else Last(said)
    assert refusal(endpoint).status == status
    authority.behaviour = grants
    assert isinstance(endpoint.exchange(ASK), Granted)


@pytest.mark.parametrize("times", [1, 3])
def test_a_huge_answer_spoils_no_connection(endpoint: TokenEndpoint, authority: Authority, times: int) -> None:
    """What was not read of it is not taken for the next answer."""
    authority.behaviour = lambda _: HUGE
    for _ in range(times):
        assert "usable access_token" in refusal(endpoint).description
    authority.behaviour = grants
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_refused(settings: ExchangeSettings, tmp_path: Path) -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = TokenEndpoint(settings._replace(authority=f"https://127.0.0.1:{port}/"))
    assert "the connection was refused" in refusal(endpoint).description
    with Authority(tmp_path, port=port):
        assert isinstance(endpoint.exchange(ASK), Granted)
        endpoint.close()


def test_a_name_that_does_not_resolve_is_reported(settings: ExchangeSettings) -> None:
    """Its name does not exist (RFC 2606)."""
    refused = refusal(TokenEndpoint(settings._replace(authority="https://login.invalid/")))
    assert "name cannot be resolved" in refused.description


def test_an_endpoint_without_tls_gets_no_assertion(settings: ExchangeSettings) -> None:
    """Something else than TLS listens."""
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


def test_an_untrusted_certificate_is_refused(settings: ExchangeSettings) -> None:
    """The remedy is part of the text."""
    refused = refusal(TokenEndpoint(settings._replace(authority_ca=None)))
    assert "not trusted" in refused.description
    assert "--authority-ca or SSL_CERT_FILE" in refused.description


def test_an_authority_in_a_variable(settings: ExchangeSettings, authority: Authority) -> None:
    """PEM text does as well as a file; text that only looks like it is named, and is not passed over."""
    pem = authority.ca_file.read_text()
    endpoint = TokenEndpoint(settings._replace(authority_ca=None, authority_ca_data=pem))
    assert isinstance(endpoint.exchange(ASK), Granted)
    endpoint.close()
    spoiled = settings._replace(authority_ca_data="-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n")
    assert refusal(TokenEndpoint(spoiled)).description.startswith(
        "WISP_AUTHORITY_CA_DATA cannot be used: it holds no cert"
    )


def test_a_certificate_for_another_name_is_refused(settings: ExchangeSettings) -> None:
    """A certificate of another name is not trusted either."""
    endpoint = TokenEndpoint(settings._replace(authority=settings.authority.replace("127.0.0.1", "localhost")))
    assert "not trusted (Hostname mismatch" in refusal(endpoint).description


def test_a_ca_file_replaced(endpoint: TokenEndpoint, authority: Authority, tmp_path: Path) -> None:
    """A new one counts from the next exchange on, and so does one that is no longer good."""
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
def test_a_bad_ca_file(endpoint: TokenEndpoint, authority: Authority, content: bytes | None, why: str) -> None:
    """It is named, and the exchange succeeds once it is fixed."""
    good = authority.ca_file.read_bytes()
    authority.ca_file.unlink()
    if content is not None:
        authority.ca_file.write_bytes(content)
    refused = refusal(endpoint)
    assert f"{authority.ca_file} (--authority-ca) cannot be used" in refused.description
    assert why in refused.description
    authority.ca_file.write_bytes(good)
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_the_systems_authorities(
    settings: ExchangeSettings, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is honoured, and read again when it changes."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(new_authority(time.time()).certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    endpoint = TokenEndpoint(settings._replace(authority_ca=None))
    assert "not trusted" in refusal(endpoint).description
    bundle.write_bytes(authority.ca_file.read_bytes())
    assert isinstance(endpoint.exchange(ASK), Granted)
    endpoint.close()


def test_throttled(endpoint: TokenEndpoint, authority: Authority) -> None:
    """The header's time is kept."""
    authority.behaviour = lambda _: answer(429, {}, "Retry-After: 17")
    refused = refusal(endpoint)
    assert (refused.status, refused.retry_after) == (429, 17.0)


def test_kubelets_rotation(
    endpoint: TokenEndpoint, authority: Authority, tmp_path: Path, settings: ExchangeSettings
) -> None:
    """The file is a link into `..data`, a link that is swapped: the assertion is the one it leads to at the moment."""
    file = Path(settings.token_file)
    file.unlink()
    file.symlink_to("..data/token")
    shown = [jwt(jti=str(number)) for number in range(3)]
    for number, assertion in enumerate(shown):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "token").write_text(assertion)
        (tmp_path / "..data_tmp").symlink_to(f"..{number}")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert isinstance(endpoint.exchange(ASK), Granted)
    assert [post.form["client_assertion"] for post in authority.posts] == [[each] for each in shown]
