"""The command line of `wisp gateway`, whose default subcommand is serve."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fakes import jwt
from tests.support.waiting import PATIENCE
from tests.unit.wisp.gateway.process import TENANT
from tests.unit.wisp.kubernetes.apiserver import ApiServer
from wisp.cli import main

TENANT_FLAGS = ["--tenant", TENANT]


@pytest.fixture(name="kubeconfig")
def _kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a kubeconfig of an API server that does not run, in an environment in which a gateway could start."""
    for name in ("KUBERNETES_SERVICE_HOST", "AZURE_TENANT_ID", "AZURE_KUBERNETES_TOKEN_PROXY"):
        monkeypatch.delenv(name, raising=False)
    token_file = tmp_path / "token"
    token_file.write_text(jwt(iss="i", sub="s"))
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("POD_NAMESPACE", "n")
    return ApiServer().write_kubeconfig(tmp_path / "kubeconfig")


def test_help_lists_the_subcommands_and_the_options_of_serve(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a further word the help is the server's."""
    assert main(["gateway", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("grant", "revoke", "list", "--grant-seconds"):
        assert word in text


@pytest.mark.parametrize(
    "flags, words",
    [
        pytest.param([], "--tenant", id="no tenant"),
        pytest.param(["--tenant", "a b"], "--tenant is not a tenant", id="not a tenant"),
        pytest.param(["--tenant", "Common"], "--tenant is not a tenant", id="any tenant"),
        pytest.param([*TENANT_FLAGS, "--audience", " "], "--audience is empty", id="no audience"),
        pytest.param(
            [*TENANT_FLAGS, "--audience", "api://AzureADTokenExchange"], "--audience is", id="Entra's audience"
        ),
        pytest.param([*TENANT_FLAGS, "--authority-ca", "/nowhere"], "/nowhere", id="no CA"),
        pytest.param([*TENANT_FLAGS, "--grant-seconds", "-1"], "--grant-seconds", id="a negative number"),
        pytest.param([*TENANT_FLAGS, "--caller-rate", "nan"], "not a finite number", id="not a number"),
        pytest.param([*TENANT_FLAGS, "--shutdown-delay", "inf"], "not a finite number", id="an infinite delay"),
        pytest.param([*TENANT_FLAGS, "--certificate-days", "9999"], "let the CA live", id="a CA that ends first"),
        pytest.param([*TENANT_FLAGS, "--address", "192.0.2.1"], "cannot listen on port", id="another's address"),
    ],
)
def test_unusable_options_end_with_status_2_and_a_hint(
    flags: list[str], words: str, kubeconfig: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "--kubeconfig", str(kubeconfig), *flags]) == 2
    assert words in capsys.readouterr().err


def test_misspelled_subcommand_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "grantt", "--all"]) == 2
    assert "No such command 'grantt'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("AZURE_FEDERATED_TOKEN_FILE", "", "AZURE_FEDERATED_TOKEN_FILE"),
        ("AZURE_AUTHORITY_HOST", "ftp://x", "AZURE_AUTHORITY_HOST"),
        ("AZURE_KUBERNETES_TOKEN_PROXY", "https://x", "AZURE_KUBERNETES_TOKEN_PROXY"),
        ("AZURE_TENANT_ID", "a/b", "--tenant is not a tenant"),
        ("WISP_TOKENS_TENANT", "a/b", "--tenant is not a tenant"),
        ("WISP_TOKENS_GRANT_SECONDS", "soon", "--grant-seconds"),
        ("WISP_TOKENS_LOG_LEVEL", "loud", "--log-level"),
    ],
)
def test_unusable_variables_end_with_status_2_and_a_hint(  # noqa: PLR0917 -- fixtures are arguments
    name: str,
    value: str,
    words: str,
    kubeconfig: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv(name, value)
    assert main(["gateway", "--kubeconfig", str(kubeconfig)]) == 2
    assert words in capsys.readouterr().err


def test_variable_of_a_service_is_not_an_option(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a Service called wisp-gateway, pods get WISP_GATEWAY_PORT."""
    monkeypatch.setenv("WISP_GATEWAY_PORT", "tcp://10.0.0.1:443")
    flags = ["--kubeconfig", str(kubeconfig), *TENANT_FLAGS, "--address", "192.0.2.1"]
    assert main(["gateway", *flags]) == 2
    assert "cannot listen on port 8443" in capsys.readouterr().err


@pytest.mark.system
def test_closed_standard_output_is_refused(kubeconfig: Path) -> None:
    """A connection would get its number, and the audit lines."""
    command = [sys.executable, "-m", "wisp", "gateway", "--kubeconfig", str(kubeconfig), *TENANT_FLAGS]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    ended = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert "standard output is closed" in ended.stderr
