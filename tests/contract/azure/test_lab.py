"""The lab with the real az: the walk-through's words, in the shells that people have."""

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.contract.azure.az import new_home
from tests.support.paths import ROOT
from tests.unit.wisp_local.lab.fake_kubernetes import FakeKubernetes, make_kubectl
from tests.unit.wisp_local.lab.lab_command import LabCommand
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.interop
_TEXT = (ROOT / "docs/how-to/lab.md").read_text(encoding="utf-8")
_TIMEOUT = 300  # seconds; az takes about one a command
ISSUER_URL = "https://issuer.test/cluster/"


@dataclass(frozen=True)
class Desk:
    """A user with az, kubectl and wisp on PATH, an empty home, and a lab."""

    folder: Path
    lab: LabCommand
    kubernetes: FakeKubernetes

    @property
    def home(self) -> Path:
        """The user's own home."""
        return self.lab.home

    def shell(self, script: str, program: str = "sh") -> str:
        """Let a shell run the script, in which `$LAB` is the lab's folder; return what it printed."""
        done = self.tried(script, program)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tried(self, script: str, program: str = "sh") -> subprocess.CompletedProcess[str]:
        """Let a shell run the script, and return how it ended."""
        return subprocess.run(
            [program, "-c", f"set -eu\n{script}"],
            env={**self.lab.variables, "HOME": str(self.home), "LAB": str(self.lab.folder)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Iterator[Desk]:
    """Make one; its lab's folder has a name that shells and URLs would trip over."""
    new_home(tmp_path / "az")
    make_kubectl(tmp_path / "kubectl")
    path = f"{tmp_path / 'az/bin'}:{tmp_path / 'kubectl'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = tmp_path / "home"
    home.mkdir()
    lab = LabCommand(tmp_path / "a lab's=@folder é", home, {"PATH": path})
    yield Desk(tmp_path, lab, FakeKubernetes(tmp_path / "kubernetes", ISSUER_URL))
    lab.run("down")


ENTER = 'eval "$(wisp lab env --lab "$LAB")"\n'


def walkthrough() -> str:
    """Return the commands of the walk-through in docs/how-to/lab.md, but for kubectl's."""
    section = _TEXT.partition("## The walk-through")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 4
    return "".join(each for each in blocks if "kubectl" not in each)


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
def test_the_walk_through(desk: Desk, shell: str) -> None:
    """As it is written; the cluster is the one behind the lab, and nothing of the user's own is touched."""
    desk.lab.up("--kubeconfig", str(desk.kubernetes.kubeconfig))
    report = 'echo "$AKS_OIDC_ISSUER $USER_ASSIGNED_CLIENT_ID"; az identity federated-credential list -g $RG'
    options = "setopt shwordsplit\n" if shell == "zsh" else ""
    said = desk.shell(f"{options}{ENTER}{walkthrough()}{report} --identity-name wi-demo-identity -o json", shell)
    listed = said[said.rindex("\n[") :]
    issuer_url, client_id = said.removesuffix(listed).splitlines()[-1].split()
    (credential,) = json.loads(listed)
    assert issuer_url == ISSUER_URL
    assert re.fullmatch(r"[0-9a-f-]{36}", client_id)
    assert (credential["issuer"], credential["subject"], credential["audiences"]) == (
        ISSUER_URL,
        "system:serviceaccount:kube-system:wi-demo-sa",
        ["api://AzureADTokenExchange"],
    )
    given = yaml.safe_load((desk.lab.folder / "kubeconfig").read_text())
    assert given["current-context"] == "wilab"
    assert sorted(each.name for each in desk.home.iterdir()) == [".ssh"]  # az's own --generate-ssh-keys
    assert desk.lab.status()["identities"] == desk.lab.status()["clusters"] == 1


def test_a_killed_cloud_takes_the_tokens_that_az_has(desk: Desk) -> None:
    """After up nobody logs in again: the login's secret is not even there."""
    desk.lab.up()
    desk.shell(f"{ENTER}az group create -g g -l eastus -o none")
    os.kill(desk.lab.pid, signal.SIGKILL)
    desk.lab.up()
    desk.shell(f"{ENTER}az group show -g g -o none")
    log = (desk.lab.folder / "logs" / "cloud.log").read_text()
    assert log.count("/oauth2/v2.0/token") == 1


def test_two_labs_in_one_shell(desk: Desk) -> None:
    """The one that was entered last is meant, and after leaving none."""
    other = LabCommand(desk.folder / "other", desk.home, desk.lab.variables)
    desk.lab.up()
    other.up()
    try:
        enter_other = ENTER.replace("$LAB", str(other.folder))
        said = desk.shell(f"{ENTER}az account show --query id -o tsv\n{enter_other}az account show --query id -o tsv")
        first, second = said.splitlines()
        assert first != second
        left = desk.shell(f'{ENTER}{enter_other}eval "$(wisp lab env --unset)"\necho "$PATH"; command -v az')
        assert left.splitlines() == [desk.lab.variables["PATH"], str(desk.folder / "az/bin/az")]
    finally:
        other.run("down")


def test_an_sdk_that_asks_az_gets_the_labs_token(desk: Desk) -> None:
    """azure-identity finds the lab's az on PATH."""
    desk.lab.up()
    program = (
        "from azure.identity import AzureCliCredential; "
        "print(AzureCliCredential(process_timeout=60).get_token('https://management.azure.com/.default').token)"
    )
    token = desk.shell(f"{ENTER}{shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    with Store(desk.lab.folder / "cloud.db") as store:
        application = store.principals.named("wisp-lab")
    assert (claims["tid"], claims["appid"]) == (application.tenant_id, application.client_id)


def test_a_user_who_logs_out_stays_so(desk: Desk) -> None:
    """The lab logs in once, and again only when it is asked to."""
    desk.lab.up()
    desk.shell(f"{ENTER}az account show -o none\naz account clear")
    assert "az login" in desk.tried(f"{ENTER}az account show -o none").stderr
    desk.shell(f'{ENTER}rm "$AZURE_CONFIG_DIR/wisp.login"\naz account show -o none')


def test_at_another_address_az_finds_it_again(desk: Desk) -> None:
    """Whatever az has kept of the old one."""
    desk.lab.up()
    desk.shell(f"{ENTER}az group create -g g -l eastus -o none")
    before = desk.lab.url
    desk.lab.run("down")
    desk.lab.up("--port=0")
    assert desk.lab.url != before
    desk.shell(f"{ENTER}az group show -g g -o none")
