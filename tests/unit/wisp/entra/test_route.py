"""The route of an exchange: forward proxies and custom token endpoints in the environment."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.constants import PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.base.secret import Secret
from wisp.entra.route import ForwardProxy, TokenProxy, forward_proxy_for, token_proxy_of

ENTRA = "https://login.microsoftonline.com/"
PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    "environ, forward",
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": ""}, None, id="empty"),
        pytest.param({"HTTP_PROXY": PROXY, "http_proxy": PROXY}, None, id="of http only"),
        pytest.param({"HTTPS_PROXY": PROXY}, ForwardProxy(PROXY, "HTTPS_PROXY"), id="upper case"),
        pytest.param(
            {"https_proxy": PROXY, "HTTPS_PROXY": "x:1"}, ForwardProxy(PROXY, "https_proxy"), id="lower case first"
        ),
        pytest.param({"ALL_PROXY": PROXY}, ForwardProxy(PROXY, "ALL_PROXY"), id="of everything"),
        pytest.param(
            {"all_proxy": "x:1", "HTTPS_PROXY": PROXY}, ForwardProxy(PROXY, "HTTPS_PROXY"), id="https before all"
        ),
        pytest.param({"HTTPS_PROXY": "proxy.test:3128"}, ForwardProxy(PROXY, "HTTPS_PROXY"), id="no scheme"),
        pytest.param({"HTTPS_PROXY": f" {PROXY}/ "}, ForwardProxy(PROXY, "HTTPS_PROXY"), id="spaces and a slash"),
        pytest.param(
            {"HTTPS_PROXY": "HTTPS://[::1]:8443"},
            ForwardProxy("https://[::1]:8443", "HTTPS_PROXY"),
            id="over TLS, IPv6",
        ),
        pytest.param(
            {"HTTPS_PROXY": "http://user:p%40ss@proxy.test:3128"},
            ForwardProxy(PROXY, "HTTPS_PROXY", Secret("user:p%40ss")),
            id="credentials",
        ),
        pytest.param(
            {"HTTPS_PROXY": "http://@proxy.test:3128"}, ForwardProxy(PROXY, "HTTPS_PROXY"), id="no credentials"
        ),
    ],
)
def test_first_non_empty_variable_names_the_proxy(environ: dict[str, str], forward: ForwardProxy | None) -> None:
    """Its credentials are separate from its URL."""
    assert forward_proxy_for(ENTRA, environ) == forward


@pytest.mark.parametrize(
    "no_proxy, url, through",
    [
        ("", ENTRA, True),
        ("*", ENTRA, False),
        ("login.microsoftonline.com", ENTRA, False),
        ("LOGIN.MICROSOFTONLINE.COM", ENTRA, False),
        ("microsoftonline.com", ENTRA, False),
        (".microsoftonline.com", ENTRA, False),
        ("*.microsoftonline.com", ENTRA, False),
        ("softonline.com", ENTRA, True),
        ("example.com", ENTRA, True),
        (".", ENTRA, True),
        ("localhost, login.microsoftonline.com", ENTRA, False),
        ("localhost login.microsoftonline.com", ENTRA, False),
        (",,", ENTRA, True),
        ("login.microsoftonline.com:443", ENTRA, False),
        ("login.microsoftonline.com:8443", ENTRA, True),
        ("login.microsoftonline.com:8443", "https://login.microsoftonline.com:8443/x/", False),
        ("10.0.0.1", "https://10.0.0.1/", False),
        ("10.0.0.0/16", "https://10.0.0.1:443/", False),
        ("10.0.0.0/16", "https://10.1.0.1/", True),
        ("10.0.0.1/16", "https://10.0.9.9/", False),
        ("10.0.0.0/99", "https://10.0.0.1/", True),
        (".0.0.1", "https://10.0.0.1/", True),
        ("fd00::/8", "https://[fd00::1]:8443/", False),
        ("[fd00::1]:8443", "https://[fd00::1]:8443/", False),
        ("[fd00::1]:443", "https://[fd00::1]:8443/", True),
        ("10.0.0.0/16", ENTRA, True),
        ("", "https://localhost:8443/", False),
        ("", "https://127.0.0.1:8443/", False),
        ("", "https://127.9.9.9/", False),
        ("", "https://[::1]:8443/", False),
        ("", "https://127.test/", True),
    ],
)
def test_no_proxy_exempts_hosts_addresses_networks_and_loopback(no_proxy: str, url: str, through: bool) -> None:  # noqa: FBT001
    """Subdomains and ports are covered. AKS lists the cluster's networks in NO_PROXY."""
    assert (forward_proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is not None) is through
    assert (forward_proxy_for(url, {"HTTPS_PROXY": PROXY, "no_proxy": no_proxy, "NO_PROXY": ""}) is not None) is through


@pytest.mark.parametrize(
    "text", ["socks5://user:hunter2@proxy.test", "http://", "proxy test", "http://user:hunter2@", "http://proxy.test:0"]
)
def test_invalid_proxy_is_reported_with_its_variable(text: str) -> None:
    """The error has a hint and contains no password."""
    with pytest.raises(SettingError, match=r"^HTTPS_PROXY is not the URL of an http or https proxy") as error:
        forward_proxy_for(ENTRA, {"HTTPS_PROXY": text})
    assert "hunter2" not in str(error.value)


@given(st.text())
def test_any_no_proxy_value_is_accepted(no_proxy: str) -> None:
    """Invalid entries exempt nothing."""
    for url in ("https://10.0.0.1/", "https://[::1]:8443/", ENTRA):
        forward_proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})


@given(st.text(min_size=1))
def test_any_proxy_value_is_a_url_with_a_host_or_an_error(text: str) -> None:
    with suppress(SettingError):
        forward = forward_proxy_for(ENTRA, {"HTTPS_PROXY": text})
        assert forward is None or forward.url.startswith(("http://", "https://"))


URL = "https://proxy.test:8443/x"


def environ(**values: str) -> dict[str, str]:
    """Return the variables, named by their suffixes."""
    return {f"AZURE_KUBERNETES_{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    "given, token_proxy",
    [
        pytest.param({}, None, id="nothing"),
        pytest.param(environ(TOKEN_PROXY="", SNI_NAME=" ", CA_FILE="", CA_DATA=""), None, id="empty"),
        pytest.param(environ(TOKEN_PROXY=URL), TokenProxy(f"{URL}/"), id="the system's authorities"),
        pytest.param(environ(TOKEN_PROXY=f" {URL}/ "), TokenProxy(f"{URL}/"), id="spaces and a slash"),
        pytest.param(
            environ(TOKEN_PROXY=URL, SNI_NAME="sni.test", CA_FILE="/ca.crt"),
            TokenProxy(f"{URL}/", "sni.test", "/ca.crt"),
            id="what the webhook sets",
        ),
        pytest.param(
            environ(TOKEN_PROXY=URL, CA_DATA=PEM_BEGIN), TokenProxy(f"{URL}/", ca_data=PEM_BEGIN), id="CA data"
        ),
    ],
)
def test_custom_token_endpoint_is_read_from_the_environment(
    given: dict[str, str], token_proxy: TokenProxy | None
) -> None:
    """An empty value counts as missing."""
    assert token_proxy_of(given) == token_proxy


@pytest.mark.parametrize(
    "given, problem",
    [
        pytest.param(environ(TOKEN_PROXY="http://x/"), "_TOKEN_PROXY is not an https URL: 'http://x/'", id="http"),
        pytest.param(environ(TOKEN_PROXY="proxy.test"), "_TOKEN_PROXY is not an https URL", id="no scheme"),
        pytest.param(environ(TOKEN_PROXY="https://u:hunter2@x/"), "'https://***@x/'", id="user info"),
        pytest.param(environ(TOKEN_PROXY="https://x/?a"), "_TOKEN_PROXY is not an https URL", id="query"),
        pytest.param(environ(TOKEN_PROXY="https://x/#a"), "_TOKEN_PROXY is not an https URL", id="fragment"),
        pytest.param(environ(SNI_NAME="x"), "AZURE_KUBERNETES_TOKEN_PROXY is not", id="SNI alone"),
        pytest.param(environ(CA_FILE="/x"), "AZURE_KUBERNETES_TOKEN_PROXY is not", id="CA file alone"),
        pytest.param(environ(CA_DATA="x"), "AZURE_KUBERNETES_TOKEN_PROXY is not", id="CA data alone"),
        pytest.param(environ(TOKEN_PROXY=URL, CA_FILE="/x", CA_DATA=PEM_BEGIN), "are both set", id="both CAs"),
        pytest.param(environ(TOKEN_PROXY=URL, CA_DATA="MIIB"), "_CA_DATA holds no certificate", id="not PEM"),
        pytest.param(environ(TOKEN_PROXY=URL, SNI_NAME="a b"), "_SNI_NAME is not a name: 'a b'", id="no name"),
    ],
)
def test_invalid_custom_token_endpoint_is_reported(given: dict[str, str], problem: str) -> None:
    """The error names the variable and contains no password. azidentity rejects the same values."""
    with pytest.raises(SettingError) as error:
        token_proxy_of(given)
    assert problem in error.value.problem
    assert error.value.problem.startswith("AZURE_KUBERNETES_")
    assert "hunter2" not in str(error.value)
