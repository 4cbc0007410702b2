"""The command's environment."""

from collections.abc import Collection, Mapping

import pytest

from wisp.imds.answer import endpoint_variables
from wisp_local.run.environment import (
    CREDENTIAL_VARIABLES,
    command_environment,
    local_environment,
    original_environment,
    sidecar_environment,
)

ENDPOINT = "http://127.0.0.1:1234/metadata/identity/oauth2/token"
PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


def test_what_is_told() -> None:
    """One URL and one header, under the names that App Service has given them over the years."""
    assert endpoint_variables(ENDPOINT, "secret") == {
        "IDENTITY_ENDPOINT": ENDPOINT,
        "IDENTITY_HEADER": "secret",
        "MSI_ENDPOINT": ENDPOINT,
        "MSI_SECRET": "secret",
    }


def test_everything_else_is_passed_on() -> None:
    """Whatever it is, even of Azure's, when no SDK chooses a credential by it."""
    environ = {
        "HOME": "/home/a",
        "AZURE_AUTHORITY_HOST": "https://a",
        "AZURE_KEYVAULT": "b",
        "EMPTY": "",
        "A": "\udcff",
    }
    assert command_environment(environ, {"IDENTITY_ENDPOINT": ENDPOINT}, "127.0.0.1") == {
        **environ,
        "IDENTITY_ENDPOINT": ENDPOINT,
    }


@pytest.mark.parametrize("name", sorted(CREDENTIAL_VARIABLES))
def test_what_chooses_otherwise_is_left_out(name: str) -> None:
    """None of it is inherited, told or not."""
    assert command_environment({name: "x"}, {}, "127.0.0.1") == {}


@pytest.mark.parametrize(
    "value, kept",
    [
        ("dev", False),
        ("AzureCliCredential", False),
        ("", False),
        ("prod", True),
        ("ManagedIdentityCredential", True),
        (" PROD ", True),
    ],
)
def test_the_chain_that_was_chosen(value: str, kept: bool) -> None:  # noqa: FBT001
    """It stays where managed identity is in it: some programs insist on one."""
    assert (
        "AZURE_TOKEN_CREDENTIALS" in command_environment({"AZURE_TOKEN_CREDENTIALS": value}, {}, "127.0.0.1")
    ) is kept


@pytest.mark.parametrize(
    "environ, expected",
    [
        pytest.param({}, {}, id="no proxy at all"),
        pytest.param({"NO_PROXY": "a"}, {"NO_PROXY": "a"}, id="exceptions of nothing"),
        pytest.param({"HTTP_PROXY": ""}, {}, id="an empty proxy is none"),
        pytest.param(PROXY, {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}, id="a proxy"),
        pytest.param(
            {"http_proxy": "p", "NO_PROXY": "a, b"},
            {"NO_PROXY": "a, b,127.0.0.1", "no_proxy": "a, b,127.0.0.1"},
            id="exceptions in one spelling",
        ),
        pytest.param(
            {**PROXY, "NO_PROXY": "a", "no_proxy": "b"},
            {"NO_PROXY": "a,127.0.0.1", "no_proxy": "b,127.0.0.1"},
            id="exceptions in two spellings",
        ),
        pytest.param(
            {"ALL_PROXY": "p", "no_proxy": "*"}, {"NO_PROXY": "*", "no_proxy": "*"}, id="everything is excepted"
        ),
        pytest.param(
            {**PROXY, "NO_PROXY": "127.0.0.1 a", "no_proxy": ""},
            {"NO_PROXY": "127.0.0.1 a", "no_proxy": "127.0.0.1"},
            id="excepted already",
        ),
    ],
)
def test_no_proxy_leads_to_loopback(environ: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Where there is a proxy, the address is excepted in both spellings, and nothing that was excepted is lost."""
    made = command_environment(environ, {}, "127.0.0.1")
    assert {name: value for name, value in made.items() if name.lower() == "no_proxy"} == expected


@pytest.mark.parametrize(
    "names, kept",
    [({"LANG"}, False), ({"LC_CTYPE"}, True), (None, True)],
    ids=["Python's own", "the user's", "not known"],
)
def test_what_python_made_of_the_locale(names: Collection[str] | None, kept: bool) -> None:  # noqa: FBT001
    """LC_CTYPE is passed on only where it was there."""
    assert ("LC_CTYPE" in original_environment({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, names)) is kept


def test_the_parts_of_a_local_run() -> None:
    """Nothing of the user's but where temporary files are to be."""
    assert local_environment({"TMPDIR": "/t", "HTTP_PROXY": "p"}, {"PATH": "/bin"}) == {"TMPDIR": "/t", "PATH": "/bin"}


def test_a_sidecar_that_goes_out() -> None:
    """Proxies and trust stores are the user's; Azure's and Python's settings are not."""
    theirs = {"HTTPS_PROXY": "p", "SSL_CERT_FILE": "f", "AZURE_KUBERNETES_TOKEN_PROXY": "x", "PYTHONPATH": "y"}
    expected = {"HTTPS_PROXY": "p", "SSL_CERT_FILE": "f", "PATH": "/bin"}
    assert sidecar_environment({**theirs, "IDENTITY_HEADER": "x", "PATH": "/x"}, {"PATH": "/bin"}) == expected
