"""Exchanges through a forward proxy, and errors of a broken one."""

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.contract.faults.faulty_authority import FaultyAuthority
from tests.contract.faults.forwarding import FakeForwardProxy, Treatment, says, tunnels, tunnels_and_notices_late, wants
from tests.support.authority import Authority, refuses
from tests.support.fakes import ASK
from wisp.base.secret import Secret
from wisp.entra.exchange.endpoint import TokenEndpoint
from wisp.entra.messages import Granted, Refused
from wisp.entra.route import ForwardProxy, TokenProxy
from wisp.entra.settings import ExchangeSettings
from wisp_local.cloud.serving import tls_context
from wisp_local.cloud.state.authority import new_authority, new_server_certificate

Make = Callable[[ExchangeSettings], TokenEndpoint]
PASSWORD = "hunter2"


@pytest.fixture
def authority(tmp_path: Path) -> Generator[Authority]:
    """Return an authority that grants tokens."""
    with Authority(tmp_path) as authority:
        yield authority


@pytest.fixture
def proxy() -> Generator[FakeForwardProxy]:
    """Return a proxy that tunnels."""
    with FakeForwardProxy() as proxy:
        yield proxy


@pytest.fixture
def settings(authority: Authority, proxy: FakeForwardProxy, token_file: Path) -> ExchangeSettings:
    """Return the settings of a pod that reaches Entra through the proxy."""
    forward = ForwardProxy(f"http://{proxy.address}", "HTTPS_PROXY", Secret(f"us%3Aer:{PASSWORD}%40"))
    ca_file = str(authority.ca_file)
    return ExchangeSettings(None, "tenant", str(token_file), authority.url, ca_file, None, forward)


def refusal(endpoint: TokenEndpoint) -> str:
    """Return why an exchange failed temporarily."""
    result = endpoint.exchange(ASK)
    assert isinstance(result, Refused)
    assert (result.status, result.cause) == (503, "unavailable")
    assert PASSWORD not in result.description
    return result.description


def test_assertion_goes_through_a_tunnel_of_the_proxy(
    endpoints: Make, settings: ExchangeSettings, authority: Authority, proxy: FakeForwardProxy
) -> None:
    """The proxy sees the host and its own credentials, decoded. TLS is with Entra, and the tunnel is reused."""
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert isinstance(endpoint.exchange(ASK), Granted)
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {authority.url[8:-1]} HTTP/1.")
    assert f"Basic {b64encode(f'us:er:{PASSWORD}@'.encode()).decode()}\r\n" in head
    assert len(authority.posts) == 2
    assert authority.connections == 1


def test_a_closed_tunnel_is_replaced(endpoints: Make, settings: ExchangeSettings, authority: Authority) -> None:
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    authority.hang_up()
    assert isinstance(endpoint.exchange(ASK), Granted)


def test_request_into_a_dead_tunnel_is_repeated_in_a_new_one(
    endpoints: Make, settings: ExchangeSettings, authority: Authority, proxy: FakeForwardProxy
) -> None:
    proxy.treatment = tunnels_and_notices_late
    endpoint = endpoints(settings)
    assert isinstance(endpoint.exchange(ASK), Granted)
    authority.hang_up()
    assert isinstance(endpoint.exchange(ASK), Granted)
    assert len(authority.posts) == len(proxy.heads) == 2


def test_new_connection_closed_by_the_proxy_is_not_retried(
    endpoints: Make, settings: ExchangeSettings, proxy: FakeForwardProxy
) -> None:
    """Only a reused connection may have been closing by chance."""
    proxy.treatment = says(b"")
    assert "closed the connection without an answer" in refusal(endpoints(settings))
    assert len(proxy.heads) == 1


def test_certificate_of_a_tls_proxy_must_be_trusted(
    endpoints: Make, settings: ExchangeSettings, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the system's authorities and --authority-ca, like Entra's."""
    own = new_authority(time.time())
    tls = tls_context(new_server_certificate(own, ["127.0.0.1"], time.time()))
    with FakeForwardProxy(tunnels, tls) as proxy:
        settings = settings._replace(forward=ForwardProxy(f"https://{proxy.address}", "https_proxy"))
        endpoint = endpoints(settings)
        message = refusal(endpoint)
        assert (
            f"the proxy https://{proxy.address} (https_proxy) cannot be used: its certificate is not trusted" in message
        )
        (tmp_path / "proxy.pem").write_bytes(own.certificate_pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "proxy.pem"))
        assert isinstance(endpoint.exchange(ASK), Granted)
    assert len(authority.posts) == 1


def test_proxy_credentials_are_sent_and_not_reported(
    endpoints: Make, settings: ExchangeSettings, proxy: FakeForwardProxy
) -> None:
    proxy.treatment = wants(f"Basic {b64encode(f'us:er:{PASSWORD}@'.encode()).decode()}")
    assert isinstance(endpoints(settings).exchange(ASK), Granted)
    assert settings.forward is not None
    for credentials in (None, Secret(f"other:{PASSWORD}")):
        without = settings._replace(forward=settings.forward._replace(credentials=credentials))
        message = refusal(endpoints(without))
        assert (
            f"the proxy http://{proxy.address} (HTTPS_PROXY) requires credentials, or other ones (HTTP 407)" in message
        )


def hangs_up(connection: object, head: str) -> None:
    """Close the connection without an answer."""


@pytest.mark.parametrize(
    "treatment, why",
    [
        pytest.param(says(b"HTTP/1.1 403 Forbidden\r\n\r\n"), " refuses the connection (HTTP 403)", id="403"),
        pytest.param(says(b"HTTP/1.1 502 hunter2\r\n\r\n"), " refuses the connection (HTTP 502)", id="502"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), ": the connection failed (BadStatusLine)", id="no proxy"),
        pytest.param(hangs_up, ": it closed the connection without an answer", id="hangs up"),
    ],
)
def test_broken_proxy_is_reported_by_name(
    endpoints: Make, settings: ExchangeSettings, proxy: FakeForwardProxy, treatment: Treatment, why: str
) -> None:
    """The message names the proxy, not Entra. Exchanges succeed once it is fixed."""
    proxy.treatment = treatment
    endpoint = endpoints(settings)
    message = refusal(endpoint)
    assert f" the proxy http://{proxy.address} (HTTPS_PROXY){why}" in message
    proxy.treatment = tunnels
    assert isinstance(endpoint.exchange(ASK), Granted)


@pytest.mark.parametrize(
    "url, why",
    [
        ("http://127.0.0.1:1", "the connection was refused; check HTTPS_PROXY"),
        ("http://proxy.invalid:3128", "its name cannot be resolved"),
    ],
)
def test_unreachable_proxy_is_reported_with_its_variable(
    endpoints: Make, settings: ExchangeSettings, url: str, why: str
) -> None:
    settings = settings._replace(forward=ForwardProxy(url, "HTTPS_PROXY", Secret(f"u:{PASSWORD}")))
    message = refusal(endpoints(settings))
    assert f"the proxy {url} (HTTPS_PROXY) cannot be used: {why}" in message


def test_faults_behind_a_proxy_are_reported_as_entras(
    endpoints: Make, settings: ExchangeSettings, authority: Authority
) -> None:
    authority.behaviour = refuses(401, 700212)
    result = endpoints(settings).exchange(ASK)
    assert isinstance(result, Refused)
    assert result.aadsts == 700212
    message = refusal(endpoints(settings._replace(authority_ca=None)))
    assert message.startswith(f"Entra at {authority.url} is unavailable through the proxy ")
    assert "(HTTPS_PROXY): its certificate is not trusted" in message


def test_custom_token_endpoint_behind_a_proxy_uses_its_own_sni_and_trust(
    endpoints: Make, settings: ExchangeSettings, proxy: FakeForwardProxy, tmp_path: Path
) -> None:
    (tmp_path / "custom").mkdir()
    with FaultyAuthority(tmp_path / "custom", names=("sni.test",)) as custom:
        token_proxy = TokenProxy(custom.url, "sni.test", str(custom.ca_file))
        assert isinstance(endpoints(settings._replace(token_proxy=token_proxy)).exchange(ASK), Granted)
        assert custom.server_names == ["sni.test"]
    assert proxy.heads[0].startswith(f"CONNECT {custom.url[8:-1]} ")
