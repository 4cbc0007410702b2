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


def test_endpoint_variables_are_those_of_app_service() -> None:
    assert endpoint_variables(ENDPOINT, "secret") == {
        "IDENTITY_ENDPOINT": ENDPOINT,
        "IDENTITY_HEADER": "secret",
        "MSI_ENDPOINT": ENDPOINT,
        "MSI_SECRET": "secret",
    }


def test_other_variables_are_inherited() -> None:
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
def test_credential_variables_are_not_inherited(name: str) -> None:
    assert command_environment({name: "x"}, {}, "127.0.0.1") == {}


@pytest.mark.parametrize(
    "value, is_inherited",
    [
        ("dev", False),
        ("AzureCliCredential", False),
        ("", False),
        ("prod", True),
        ("ManagedIdentityCredential", True),
        (" PROD ", True),
    ],
)
def test_credential_chain_is_inherited_if_it_has_managed_identity(value: str, is_inherited: bool) -> None:  # noqa: FBT001
    assert (
        "AZURE_TOKEN_CREDENTIALS" in command_environment({"AZURE_TOKEN_CREDENTIALS": value}, {}, "127.0.0.1")
    ) is is_inherited


@pytest.mark.parametrize(
    "environ, expected",
    [
        pytest.param({}, {}, id="no proxy at all"),
        pytest.param({"NO_PROXY": "a"}, {"NO_PROXY": "a"}, id="exceptions of nothing"),
        pytest.param({"HTTP_PROXY": ""}, {}, id="an empty proxy is not a proxy"),
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
def test_loopback_is_excluded_from_proxying(environ: Mapping[str, str], expected: Mapping[str, str]) -> None:
    made = command_environment(environ, {}, "127.0.0.1")
    assert {name: value for name, value in made.items() if name.lower() == "no_proxy"} == expected


@pytest.mark.parametrize(
    "names, is_inherited",
    [({"LANG"}, False), ({"LC_CTYPE"}, True), (None, True)],
    ids=["Python's own", "the user's", "not known"],
)
def test_locale_that_python_set_is_not_inherited(names: Collection[str] | None, is_inherited: bool) -> None:  # noqa: FBT001
    assert ("LC_CTYPE" in original_environment({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, names)) is is_inherited


def test_local_cloud_gets_only_the_folder_for_temporary_files() -> None:
    assert local_environment({"TMPDIR": "/t", "HTTP_PROXY": "p"}, {"PATH": "/bin"}) == {"TMPDIR": "/t", "PATH": "/bin"}


def test_sidecar_of_a_real_authority_gets_proxies_and_trust_stores() -> None:
    theirs = {"HTTPS_PROXY": "p", "SSL_CERT_FILE": "f", "AZURE_KUBERNETES_TOKEN_PROXY": "x", "PYTHONPATH": "y"}
    expected = {"HTTPS_PROXY": "p", "SSL_CERT_FILE": "f", "PATH": "/bin"}
    assert sidecar_environment({**theirs, "IDENTITY_HEADER": "x", "PATH": "/x"}, {"PATH": "/bin"}) == expected
