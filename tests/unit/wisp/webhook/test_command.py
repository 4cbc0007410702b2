"""The command line of `wisp webhook`, whose default subcommand is serve."""

import subprocess
import sys
from pathlib import Path

import pytest

from wisp.base.errors import SettingError
from wisp.cli import main
from wisp.http.asyncio_server import bind

TENANT = "22222222-2222-4222-8222-222222222222"


def test_help_lists_the_subcommands_and_the_options_of_serve(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a further word the help is the server's, and mentions the review command."""
    assert main(["webhook", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--health-port" in text
    assert "wisp webhook review --help" in text
    assert main(["webhook", "review", "--help"]) == 0
    assert "--service-accounts" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, words",
    [
        pytest.param([], "--namespace", id="no namespace"),
        pytest.param(["--namespace", "n"], "KUBERNETES_SERVICE_HOST", id="no cluster"),
        pytest.param(["--namespace", "n", "--kubeconfig", "/nowhere"], "not a usable kubeconfig", id="no kubeconfig"),
        pytest.param(
            ["--namespace", "n", "--certificate-days", "9999"],
            "let the CA live",
            id="a CA that ends first",
        ),
    ],
)
def test_unusable_options_end_with_status_2_and_a_hint(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends with status 2 and says what to do."""
    for name in ("KUBERNETES_SERVICE_HOST", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["webhook", "--tenant-id", TENANT, *flags]) == 2
    assert words in capsys.readouterr().err


def test_options_are_read_from_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a Service called wisp-webhook a pod is given WISP_WEBHOOK_PORT, which must not be taken for ours."""
    monkeypatch.setenv("WISP_WEBHOOK_PORT", "tcp://10.0.0.1:443")
    monkeypatch.setenv("WISP_ADMISSION_KUBECONFIG", str(tmp_path / "named"))
    monkeypatch.setenv("POD_NAMESPACE", "n")
    assert main(["webhook", "--tenant-id", TENANT]) == 2
    assert "named" in capsys.readouterr().err


@pytest.mark.parametrize("address, port", [("nowhere.example", 0), ("192.0.2.1", 0)], ids=["a name", "another's"])
def test_unavailable_address_is_a_setting_error(address: str, port: int) -> None:
    """Is a setting that says so."""
    with pytest.raises(SettingError, match="cannot listen"):
        bind(address, port)


def test_server_loads_no_module_that_it_does_not_need() -> None:
    """Each would cost it between 1 and 10 MB: YAML is for kubeconfigs, cryptography for the issuing process."""
    script = "import sys, wisp.cli, wisp.cli.webhook; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    unneeded = {"cryptography", "email", "importlib.metadata", "wisp.base.x509", "wisp.cli.review", "yaml", "zipfile"}
    assert unneeded & set(done.stdout.split()) == set()
