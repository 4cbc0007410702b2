"""The custom token endpoint in the environment."""

import pytest

from wisp.base.constants import PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.entra.route import TokenProxy, token_proxy_of

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
