"""The assertion's file: each fault has a message of its own."""

import os
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.faults.faulty_authority import FaultyAuthority
from tests.support.authority import Authority, Last, answer
from tests.support.fakes import ASK, jwt
from wisp.base.secret import Secret
from wisp.base.x509 import CertifiedKey
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.exchange.files import read_assertion
from wisp.entra.messages import Granted, Refused
from wisp.entra.route import TokenProxy
from wisp.entra.settings import ExchangeSettings
from wisp_local.cloud.state.authority import new_authority, new_server_certificate

ASSERTION = jwt(sub="system:serviceaccount:default:default")


@pytest.mark.parametrize("text", [ASSERTION, f"{ASSERTION}\n", f"  {ASSERTION}\r\n"], ids=["bare", "line", "blanks"])
def test_token_is_read_without_surrounding_blanks(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    assert read_assertion(str(file)) == Secret(ASSERTION)


def test_token_is_read_through_the_links_of_a_projected_volume(tmp_path: Path) -> None:
    """A link to a link, replaced as a whole."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "token").write_text(ASSERTION)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/token")
    assert read_assertion(str(tmp_path / "token")) == Secret(ASSERTION)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "make, reason",
    [
        pytest.param(lambda _: None, "no such file", id="missing"),
        pytest.param(Path.mkdir, "not a regular file", id="directory"),
        pytest.param(os.mkfifo, "not a regular file", id="FIFO"),
        pytest.param(_socket, "no such device or address", id="socket"),
        pytest.param(lambda file: file.symlink_to(file), "too many levels", id="a link to itself"),
        pytest.param(lambda file: file.write_text(""), "empty", id="empty"),
        pytest.param(lambda file: file.write_text(" \n\n"), "empty", id="blank"),
        pytest.param(lambda file: file.write_text("x" * 65537), "larger than 65536", id="huge"),
        pytest.param(lambda file: os.truncate(os.open(file, os.O_CREAT | os.O_RDWR), 1 << 40), "larger", id="sparse"),
        pytest.param(lambda file: file.write_bytes(bytes(range(256))), "no JWT", id="binary"),
        pytest.param(lambda file: file.write_text("hello"), "no JWT", id="not a JWT"),
        pytest.param(lambda file: file.write_text("a..c"), "no JWT", id="an empty part"),
        pytest.param(lambda file: file.write_text(f"{ASSERTION} {ASSERTION}"), "no JWT", id="two JWTs"),
        pytest.param(lambda file: file.write_text(f"Bearer {ASSERTION}"), "no JWT", id="a header"),
        pytest.param(lambda file: file.write_text(f"{ASSERTION}.x"), "no JWT", id="four parts"),
    ],
)
def test_file_without_a_usable_token_is_reported(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """The refusal names the file, the variable and the fault; it is temporary, so it is a 503."""
    file = tmp_path / "token"
    make(file)
    refused = read_assertion(str(file))
    assert isinstance(refused, Refused)
    assert (refused.status, refused.cause) == (503, "token_file")
    assert reason in refused.description
    assert str(file) in refused.description
    assert "AZURE_FEDERATED_TOKEN_FILE" in refused.description
    assert ASSERTION not in refused.description


def test_repeated_faults_leak_no_descriptors(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        read_assertion(str(tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.needs("root")
def test_unreadable_file_is_reported_as_such(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(ASSERTION)
    file.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.seteuid(1501)
    try:
        refused = read_assertion(str(file))
    finally:
        os.seteuid(0)
    assert isinstance(refused, Refused)
    assert f"{file} (AZURE_FEDERATED_TOKEN_FILE) cannot be used: permission denied" in refused.description


SNI = "1f2e.sni.test"
ELSEWHERE = "https://login.invalid/"

Make = Callable[[ExchangeSettings], TokenEndpoint]


@pytest.fixture
def custom(tmp_path: Path) -> Generator[FaultyAuthority]:
    """Return a custom token endpoint whose certificate is for its SNI name only."""
    with FaultyAuthority(tmp_path, names=(SNI,)) as authority:
        yield authority


@pytest.fixture
def settings(custom: FaultyAuthority, token_file: Path) -> ExchangeSettings:
    """Return the settings of a pod with an identity binding; its authority is unreachable."""
    token_proxy = TokenProxy(f"{custom.url}some/path/", SNI, str(custom.ca_file))
    return ExchangeSettings(None, "tenant", str(token_file), ELSEWHERE, None, token_proxy)


def bound(settings: ExchangeSettings, **changes: Any) -> ExchangeSettings:
    """Return the settings with another binding."""
    assert settings.token_proxy is not None
    return settings._replace(token_proxy=settings.token_proxy._replace(**changes))


def refusal(endpoint: TokenEndpoint) -> str:
    """Return why an exchange failed temporarily."""
    result = endpoint.exchange(ASK)
    assert isinstance(result, Refused)
    assert result.status == 503
    return result.description


def test_request_goes_to_the_endpoint_with_its_sni_name(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings
) -> None:
    """The path is the endpoint's and the tenant's, Host is that of the URL, the form is Entra's."""
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert [post.line for post in custom.posts] == ["POST /some/path/tenant/oauth2/v2.0/token HTTP/1.1"] * 2
    assert custom.server_names == [SNI], "one reused connection"
    assert custom.posts[0].form["client_id"] == [ASK.client_id]
    assert custom.posts[0].form["scope"] == [f"{ASK.resource}/.default"]


def test_newer_token_is_requested_past_the_cache_of_a_gateway(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings
) -> None:
    endpoint = endpoints(settings)
    endpoint.exchange(ASK)
    endpoint.exchange(ASK._replace(newer=True))
    assert [post.headers.get("cache-control") for post in custom.posts] == [None, "no-cache"]


def test_ca_certificates_can_be_given_as_data(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings
) -> None:
    text = custom.ca_file.read_text()
    assert isinstance(endpoints(bound(settings, ca_file=None, ca_data=text)).exchange(ASK), Granted)


def test_invalid_ca_data_is_reported_to_the_client(endpoints: Make, settings: ExchangeSettings) -> None:
    text = "-----BEGIN CERTIFICATE-----\nzzz\n-----END CERTIFICATE-----\n"
    endpoint = endpoints(bound(settings, ca_file=None, ca_data=text))
    assert refusal(endpoint).startswith("AZURE_KUBERNETES_CA_DATA cannot be used: it holds no certificate")


def test_only_the_authorities_of_the_binding_are_trusted(
    custom: FaultyAuthority,
    endpoints: Make,
    settings: ExchangeSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Neither the system's authorities nor --authority-ca count if the binding has its own."""
    good = tmp_path / "good.pem"
    good.write_bytes(custom.ca_file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(good))
    custom.ca_file.write_bytes(new_authority(time.time()).certificate_pem)
    message = refusal(endpoints(settings._replace(authority_ca=str(good))))
    assert "AZURE_KUBERNETES_TOKEN_PROXY) is unavailable: its certificate is not trusted" in message
    assert "AZURE_KUBERNETES_CA_FILE or _CA_DATA" in message


@pytest.mark.parametrize("by_flag", [False, True], ids=["SSL_CERT_FILE", "--authority-ca"])
def test_binding_without_a_ca_uses_the_trust_for_entra(
    custom: FaultyAuthority,
    endpoints: Make,
    settings: ExchangeSettings,
    monkeypatch: pytest.MonkeyPatch,
    by_flag: bool,  # noqa: FBT001
) -> None:
    if not by_flag:
        monkeypatch.setenv("SSL_CERT_FILE", str(custom.ca_file))
    settings = bound(settings, ca_file=None)._replace(authority_ca=str(custom.ca_file) if by_flag else None)
    assert isinstance(endpoints(settings).exchange(ASK), Granted)


@pytest.mark.parametrize("sni_name", [None, "other.sni.test"], ids=["none", "another"])
def test_certificate_must_be_for_the_sni_name(
    endpoints: Make, settings: ExchangeSettings, sni_name: str | None
) -> None:
    """Or for the URL's host if no SNI name is set."""
    assert "its certificate is not trusted" in refusal(endpoints(bound(settings, sni_name=sni_name)))


def test_redirects_are_not_followed(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings, tmp_path: Path
) -> None:
    """The assertion goes only where the settings say."""
    (tmp_path / "other").mkdir()
    with Authority(tmp_path / "other") as other:
        for status in (301, 302, 303, 307, 308):
            custom.behaviour = lambda _, status=status: Last(answer(status, {}, f"Location: {other.url}"))  # type: ignore[misc]
            assert f"HTTP {status}" in refusal(endpoints(settings))
        assert not other.posts


def renewed(custom: FaultyAuthority) -> CertifiedKey:
    """Give the endpoint another authority and a certificate of it; return that authority."""
    authority = new_authority(time.time())
    custom.present(new_server_certificate(authority, [SNI], time.time()))
    return authority


def test_rotated_ca_file_is_read_again(custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings) -> None:
    """Idle connections are closed, since their certificates are no longer trusted."""
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    authority = renewed(custom)
    assert isinstance(endpoint.exchange(ASK), Granted), "the idle connection is still trusted"
    assert len(custom.server_names) == 1
    custom.ca_file.write_bytes(authority.certificate_pem)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert len(custom.server_names) == 2


@pytest.mark.parametrize("content", [None, b""], ids=["gone", "empty"])
def test_last_valid_ca_is_used_while_the_file_is_missing(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings, content: bytes | None
) -> None:
    """As in azidentity. Without an earlier valid one the file is reported."""
    good = custom.ca_file.read_bytes()
    endpoint, late = endpoints(settings), endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    custom.ca_file.unlink()
    if content is not None:
        custom.ca_file.write_bytes(content)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert f"{custom.ca_file} (AZURE_KUBERNETES_CA_FILE) cannot be used" in refusal(late)
    custom.ca_file.write_bytes(good)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert isinstance(late.exchange(ASK), Granted)


def test_ca_file_without_a_certificate_is_reported(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings
) -> None:
    good = custom.ca_file.read_bytes()
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    custom.ca_file.write_bytes(b"<html>")
    assert "it holds no certificate in PEM form" in refusal(endpoint)
    custom.ca_file.write_bytes(good)
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_unreachable_endpoint_is_reported_with_its_variable(
    custom: FaultyAuthority, endpoints: Make, settings: ExchangeSettings
) -> None:
    """Not with AZURE_AUTHORITY_HOST."""
    message = refusal(endpoints(bound(settings, url="https://127.0.0.1:1/")))
    assert "the connection was refused; check AZURE_KUBERNETES_TOKEN_PROXY" in message
    assert not custom.posts
