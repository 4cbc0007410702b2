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
class User:
    """A user with az, kubectl and wisp on PATH, an empty home, and a lab."""

    folder: Path
    lab: LabCommand
    kubernetes: FakeKubernetes

    @property
    def home(self) -> Path:
        """The user's own home."""
        return self.lab.home

    def shell(self, script: str, program: str = "sh") -> str:
        """Run the script, in which `$LAB` is the lab's folder, in a shell; return its output."""
        done = self.attempt(script, program)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attempt(self, script: str, program: str = "sh") -> subprocess.CompletedProcess[str]:
        """Run the script in a shell, and return how it ended."""
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


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> Iterator[User]:
    """Set up a user whose lab folder has a name that needs quoting in shells and URLs."""
    new_home(tmp_path / "az")
    make_kubectl(tmp_path / "kubectl")
    path = f"{tmp_path / 'az/bin'}:{tmp_path / 'kubectl'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = tmp_path / "home"
    home.mkdir()
    lab = LabCommand(tmp_path / "a lab's=@folder é", home, {"PATH": path})
    yield User(tmp_path, lab, FakeKubernetes(tmp_path / "kubernetes", ISSUER_URL))
    lab.run("down")


ENTER = 'eval "$(wisp lab env --lab "$LAB")"\n'


def walkthrough() -> str:
    """Return the commands of the walk-through in docs/how-to/lab.md, but for kubectl's."""
    section = _TEXT.partition("## Follow the walk-through")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 4
    return "".join(each for each in blocks if "kubectl" not in each)


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
def test_walk_through_works_in_every_shell(user: User, shell: str) -> None:
    """As it is written; the cluster is the one behind the lab, and nothing of the user's own is touched."""
    user.lab.up("--kubeconfig", str(user.kubernetes.kubeconfig))
    report = 'echo "$AKS_OIDC_ISSUER $USER_ASSIGNED_CLIENT_ID"; az identity federated-credential list -g $RG'
    options = "setopt shwordsplit\n" if shell == "zsh" else ""
    output = user.shell(f"{options}{ENTER}{walkthrough()}{report} --identity-name wi-demo-identity -o json", shell)
    listed = output[output.rindex("\n[") :]
    issuer_url, client_id = output.removesuffix(listed).splitlines()[-1].split()
    (credential,) = json.loads(listed)
    assert issuer_url == ISSUER_URL
    assert re.fullmatch(r"[0-9a-f-]{36}", client_id)
    assert (credential["issuer"], credential["subject"], credential["audiences"]) == (
        ISSUER_URL,
        "system:serviceaccount:kube-system:wi-demo-sa",
        ["api://AzureADTokenExchange"],
    )
    kubeconfig = yaml.safe_load((user.lab.folder / "kubeconfig").read_text())
    assert kubeconfig["current-context"] == "wilab"
    assert sorted(each.name for each in user.home.iterdir()) == [".ssh"]  # az's own --generate-ssh-keys
    assert user.lab.status()["identities"] == user.lab.status()["clusters"] == 1


def test_restarted_lab_accepts_cached_tokens(user: User) -> None:
    """After up nobody logs in again: the login's secret is not even there."""
    user.lab.up()
    user.shell(f"{ENTER}az group create -g g -l eastus -o none")
    os.kill(user.lab.pid, signal.SIGKILL)
    user.lab.up()
    user.shell(f"{ENTER}az group show -g g -o none")
    log = (user.lab.folder / "logs" / "cloud.log").read_text()
    assert log.count("/oauth2/v2.0/token") == 1


def test_last_entered_lab_is_the_current_one(user: User) -> None:
    """The one that was entered last is meant, and after leaving none."""
    other = LabCommand(user.folder / "other", user.home, user.lab.variables)
    user.lab.up()
    other.up()
    try:
        enter_other = ENTER.replace("$LAB", str(other.folder))
        output = user.shell(f"{ENTER}az account show --query id -o tsv\n{enter_other}az account show --query id -o tsv")
        first, second = output.splitlines()
        assert first != second
        after = user.shell(f'{ENTER}{enter_other}eval "$(wisp lab env --unset)"\necho "$PATH"; command -v az')
        assert after.splitlines() == [user.lab.variables["PATH"], str(user.folder / "az/bin/az")]
    finally:
        other.run("down")


def test_azure_cli_credential_gets_the_labs_token(user: User) -> None:
    """azure-identity finds the lab's az on PATH."""
    user.lab.up()
    program = (
        "from azure.identity import AzureCliCredential; "
        "print(AzureCliCredential(process_timeout=60).get_token('https://management.azure.com/.default').token)"
    )
    token = user.shell(f"{ENTER}{shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    with Store(user.lab.folder / "cloud.db") as store:
        application = store.principals.named("wisp-lab")
    assert (claims["tid"], claims["appid"]) == (application.tenant_id, application.client_id)


def test_logged_out_user_stays_logged_out(user: User) -> None:
    """The lab logs in once, and again only when it is asked to."""
    user.lab.up()
    user.shell(f"{ENTER}az account show -o none\naz account clear")
    assert "az login" in user.attempt(f"{ENTER}az account show -o none").stderr
    user.shell(f'{ENTER}rm "$AZURE_CONFIG_DIR/wisp.login"\naz account show -o none')


def test_az_follows_the_lab_to_another_address(user: User) -> None:
    """Whatever az has kept of the old one."""
    user.lab.up()
    user.shell(f"{ENTER}az group create -g g -l eastus -o none")
    before = user.lab.url
    user.lab.run("down")
    user.lab.up("--port=0")
    assert user.lab.url != before
    user.shell(f"{ENTER}az group show -g g -o none")
