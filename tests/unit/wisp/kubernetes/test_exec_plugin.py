"""Credential plugins of kubeconfigs."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wisp.base.errors import SettingError, ToolError
from wisp.base.secret import Secret
from wisp.kubernetes.exec_plugin import Credentials, exec_info, parse_credentials, run_plugin
from wisp.kubernetes.kubeconfig import Kubeconfig

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"
CLUSTER = {
    "server": "https://api.test",
    "tls-server-name": "name.test",
    "certificate-authority": "/ca.crt",
    "extensions": [
        {"name": "other", "extension": {"x": 1}},
        {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}},
    ],
}


def credential(**status: Any) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


def config(script: str = "", **plugin: Any) -> Kubeconfig:
    """Return a kubeconfig whose plugin is a Python script."""
    command = {"apiVersion": V1, "command": sys.executable, "args": ["-c", script]}
    return Kubeconfig(CLUSTER, {"exec": {**command, **plugin}})


def run(config: Kubeconfig, *, terminal: bool = False) -> Credentials:
    return run_plugin(config, b"the CA", environ={"INHERITED": "yes"}, is_terminal=lambda: terminal)


@pytest.mark.system
def test_token_of_the_plugin_is_used() -> None:
    assert run(config(f"print({credential(token='t')!r})")) == Credentials(Secret("t"))


@pytest.mark.system
def test_certificate_of_the_plugin_is_used() -> None:
    printed = credential(clientCertificateData="PEM", clientKeyData="KEY")
    assert run(config(f"print({printed!r})")) == Credentials(None, "PEM", Secret("KEY"))


@pytest.mark.system
def test_plugin_gets_its_variables_and_the_request() -> None:
    script = (
        "import json, os; info = json.loads(os.environ['KUBERNETES_EXEC_INFO']); "
        "status = {'token': os.environ['OWN'] + os.environ['INHERITED'] + str(info['spec']['interactive'])}; "
        "print(json.dumps({**info, 'status': status}))"
    )
    found = run(config(script, env=[{"name": "OWN", "value": "own-"}]))
    assert found.token == Secret("own-yesFalse")


def test_cluster_is_described_only_to_plugins_that_ask() -> None:
    assert json.loads(exec_info(config(), b"the CA", interactive=True)) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": True},
    }
    described = json.loads(exec_info(config(provideClusterInfo=True), b"the CA", interactive=False))
    assert described["spec"]["cluster"] == {
        "server": "https://api.test",
        "tls-server-name": "name.test",
        "certificate-authority-data": base64.b64encode(b"the CA").decode(),
        "config": {"audience": "a"},
    }


def test_missing_plugin_is_reported_with_its_install_hint() -> None:
    with pytest.raises(ToolError, match="'kubelogin-missing' cannot be run: no such file") as raised:
        run(config(command="kubelogin-missing", installHint="Install it:\n  az aks install-cli"))
    assert raised.value.hint == "Install it: az aks install-cli"


@pytest.mark.system
def test_failing_plugin_is_reported_and_its_messages_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ToolError, match="failed with exit status 3"):
        run(config("import sys; print('use a browser', file=sys.stderr); sys.exit(3)"))
    assert capfd.readouterr().err == "use a browser\n"


def test_plugin_that_must_ask_needs_a_terminal() -> None:
    with pytest.raises(ToolError, match="this is not a terminal"):
        run(config(interactiveMode="Always"))


@pytest.mark.system
@pytest.mark.parametrize("mode, read", [("Never", ""), ("IfAvailable", "yes"), ("Always", "yes")], ids=str)
def test_plugin_that_may_ask_reads_our_standard_input(mode: str, read: str, tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("yes")
    plugin = "import json, os, sys; info = json.loads(os.environ['KUBERNETES_EXEC_INFO']); "
    plugin += "print(json.dumps({**info, 'status': {'token': 'answer: ' + sys.stdin.read()}}))"
    script = (
        f"from wisp.kubernetes.exec_plugin import run_plugin; from wisp.kubernetes.kubeconfig import Kubeconfig; "
        f"config = Kubeconfig({{}}, {config(plugin, interactiveMode=mode).user!r}); "
        f"print(run_plugin(config, None, is_terminal=lambda: True).token.reveal())"
    )
    with (tmp_path / "answers").open() as answers:
        ran = subprocess.run([sys.executable, "-c", script], stdin=answers, capture_output=True, text=True, check=True)
    assert ran.stdout == f"answer: {read}\n"


@pytest.mark.parametrize(
    "plugin",
    [{"apiVersion": "client.authentication.k8s.io/v1alpha1"}, {"command": None}, {"interactiveMode": "Sometimes"}],
    ids=["version", "command", "mode"],
)
def test_unusable_plugin_is_an_error_of_the_kubeconfig(plugin: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        run(config(**plugin))


@pytest.mark.parametrize(
    "output",
    [
        "",
        "[]",
        "not JSON",
        credential(),
        credential(token=""),
        credential(token=1),
        credential(clientCertificateData="PEM"),
        credential(clientKeyData="KEY", token="t"),
        credential(token="t").replace("v1", "v1beta1"),
        credential(token="t").replace("ExecCredential", "Pod"),
        json.dumps({"apiVersion": V1, "kind": "ExecCredential"}),
    ],
    ids=range(11),
)
def test_output_without_credentials_is_recognised(output: str) -> None:
    assert parse_credentials(output.encode(), V1) is None


@pytest.mark.system
def test_error_for_such_output_does_not_quote_it() -> None:
    with pytest.raises(ToolError) as raised:
        run(config("print('s3cret')"))
    assert "s3cret" not in str(raised.value)
