"""The walk-through, word for word: `wisp lab up --cluster`, then docs/how-to/lab.md by the real az and kubectl."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.contract.azure.az import new_home
from tests.support.paths import ROOT
from tests.unit.wisp_local.cloud.page.browser import chromium, open_window
from tests.unit.wisp_local.lab.lab_command import LabCommand
from tests.unit.wisp_local.lab.node.image_archives import REFERENCE, docker_archive, oci_archive
from wisp.base.secret import Secret
from wisp.gateway.grants import grant_command
from wisp_local.cloud.cluster import GATEWAY_SUBJECT
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.cloud.state.store import Store
from wisp_local.demo.azure import Verifier
from wisp_local.demo.steps import RESOURCE, Expected, claim_problem
from wisp_local.lab.cluster import ApiServer
from wisp_local.lab.node.binaries import cached_binaries
from wisp_local.lab.node.images import write_layer
from wisp_local.lab.node.node import ARCHITECTURE
from wisp_local.sandbox.folders import cache_folder
from wisp_local.sandbox.processes import ProcessIdentity, find_process

pytestmark = [pytest.mark.cluster]
_TEXT = (ROOT / "docs/how-to/lab.md").read_text(encoding="utf-8")
_TIMEOUT = 600  # seconds for all of it


@contextlib.contextmanager
def running_lab(tmp_path: Path, *options: str) -> Iterator[LabCommand]:
    """Run a lab with options of `wisp lab up`, in the environment of a user with an az of their own."""
    new_home(tmp_path / "az")
    home = tmp_path / "home"
    home.mkdir()
    path = f"{tmp_path / 'az/bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    cache = os.environ.get("XDG_CACHE_HOME", f"{os.environ['HOME']}/.cache")
    lab = LabCommand(tmp_path / "lab", home, {"PATH": path, "XDG_CACHE_HOME": cache})
    try:
        lab.up(*options)
        yield lab
    finally:
        lab.run("down")


@pytest.fixture(name="lab")
def _lab(tmp_path: Path, images: list[Path]) -> Iterator[LabCommand]:
    """Give a running lab with a cluster of its own."""
    with running_lab(tmp_path, "--cluster", f"--image-archive={images[0]}") as lab:
        yield lab


@pytest.fixture(name="gateway_lab")
def _gateway_lab(tmp_path: Path, images: list[Path]) -> Iterator[LabCommand]:
    """Give a running lab whose cluster has the token gateway."""
    with running_lab(tmp_path, "--cluster", "--gateway", f"--image-archive={images[0]}") as lab:
        yield lab


def documented_commands(heading: str) -> list[str]:
    """Return the blocks of commands in a section of docs/how-to/lab.md."""
    section = _TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def walkthrough() -> str:
    """Return the text of docs/how-to/lab.md's walk-through."""
    text = "".join(documented_commands("Follow the walk-through"))
    assert text.count("\nkubectl exec ") == 1
    return text


def _typed(lab: LabCommand, text: str) -> str:
    """Return the output of the commands `text` in a shell of the lab."""
    done = subprocess.run(
        ["bash", "-c", f'set -eu\neval "$(wisp lab env --lab {lab.folder})"\n{text}'],
        env={**lab.variables, "HOME": str(lab.home)},
        cwd=lab.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answer(printed: str) -> dict[str, str]:
    """Return the last answer of the metadata service in the output: that of az and kubectl is before it."""
    answer: dict[str, str] = json.loads(printed[max(printed.rfind('{"access_token"'), printed.rfind('{"error"')) :])
    return answer


def _claims(lab: LabCommand, answer: Mapping[str, str], identity: ManagedIdentity) -> Mapping[str, object]:
    """Return the token's claims; it is the token of `identity`, signed by the lab's Entra."""
    verifier = Verifier.published(f"{lab.url}/{identity.tenant_id}/", lab.folder / "cloud.db.ca.pem")
    claims = verifier.verify(Secret(answer["access_token"]), float(answer["not_before"]) + 1).claims
    assert (claims["appid"], claims["xms_mirid"]) == (identity.client_id, identity.resource_id)
    return claims


def _verified(lab: LabCommand, answer: Mapping[str, str]) -> Mapping[str, object]:
    """Return the claims of the walk-through's token."""
    with Store(lab.folder / "cloud.db") as store:
        identity = store.identity("WorkloadIdentityRG", "wi-demo-identity")
    claims = _claims(lab, answer, identity)
    expected = Expected(RESOURCE, identity.client_id, identity.principal_id, identity.tenant_id)
    assert claim_problem(claims, expected) is None
    return claims


def test_walkthrough_works_word_for_word(lab: LabCommand, capsys: pytest.CaptureFixture[str]) -> None:
    """The application gets the identity's token. Afterwards nothing runs, and nothing is left in the user's home."""
    claims = _verified(lab, _answer(_typed(lab, walkthrough())))
    with capsys.disabled():
        sys.stdout.write(f"\nthe walk-through, word for word: {json.dumps(claims, indent=2)}\n")
    assert lab.status()["problems"] == []
    assert [path.name for path in lab.home.iterdir()] == [".ssh"]  # az's own --generate-ssh-keys
    node = json.loads((lab.folder / "node" / "process.json").read_text())["pid"]
    lab.run("down")
    assert find_process(node) is None
    assert not (lab.folder / "node").exists()


def test_page_shows_a_misspelt_subject_and_the_command_that_corrects_it(lab: LabCommand) -> None:
    """The application gets Entra's error before, and its token after the command."""
    misspelt = walkthrough().replace("${NAMESPACE}:wi-demo-sa", "${NAMESPACE}:wi-demo-SA")
    refused = _answer(_typed(lab, misspelt))
    assert refused["error"] == "invalid_client"
    assert refused["error_description"].startswith("AADSTS7002138: ")
    with chromium() as browser, open_window(browser) as window:
        window.page.goto(f"{lab.url}/")
        window.page.locator("[data-live] tbody tr").first.get_by_role("link").click()
        expect(window.page.locator(".compared mark.presented")).to_have_text("sa")
        expect(window.page.locator(".compared mark.expected")).to_have_text("SA")
        hint = window.page.locator("pre").first.inner_text()
    again = _exec_until_token(walkthrough())
    _verified(lab, _answer(_typed(lab, f"NAMESPACE=kube-system\n{hint} >/dev/null\n{again}")))


def _exec_until_token(pod_commands: str) -> str:
    """Return commands that repeat the request for a token in `pod_commands`, their last command, until it succeeds."""
    request = pod_commands.rpartition("\nkubectl exec ")[2].strip()
    return (
        f'until answer=$(kubectl exec {request}); [ "${{answer#*access_token}}" != "$answer" ]; do sleep 1; done\n'
        'echo "$answer"'
    )


def test_gateway_serves_two_namespaces_with_one_federated_credential(
    gateway_lab: LabCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/how-to/lab.md, word for word: a refusal with the command that grants, and the token after it.

    In the second namespace, `wisp gateway grant` does the same.
    """
    identity, pod, grant = documented_commands("Use the token gateway")
    refused = _answer(_typed(gateway_lab, identity + pod))
    with Store(gateway_lab.folder / "cloud.db") as store:
        shop = store.identity("GatewayRG", "shop")
    command = grant_command(shop.client_id, "team-a", "shop")
    assert refused["error"] == "invalid_client"
    assert command in refused["error_description"]
    granted = _answer(_typed(gateway_lab, f"{command} >/dev/null\n{_exec_until_token(pod)}"))
    claims = _claims(gateway_lab, granted, shop)
    with capsys.disabled():
        sys.stdout.write(f"\nby the gateway: {json.dumps(claims, indent=2)}\n")
    other_pod, other_grant = (text.replace("team-a", "team-b") for text in (pod, grant))
    export = f"export CLIENT_ID={shop.client_id}\n"
    assert "error" in _answer(_typed(gateway_lab, export + other_pod))
    other = _answer(_typed(gateway_lab, f"{export}{other_grant}{_exec_until_token(other_pod)}"))
    assert _claims(gateway_lab, other, shop)["aud"] == RESOURCE
    credentials = _typed(gateway_lab, "az identity federated-credential list -g GatewayRG --identity-name shop")
    assert [credential["subject"] for credential in json.loads(credentials)] == [GATEWAY_SUBJECT]
    assert gateway_lab.status()["problems"] == []
    assert "The lab runs already" in gateway_lab.up("--no-gateway")
    deployments = "kubectl get deployments -n wisp-system -o name"
    assert _typed(gateway_lab, deployments).split() == ["deployment.apps/wisp"]


_PODS = """
export KUBECONFIG="$WISP_LAB/node/admin.conf"
kubectl run app --image=app:1 --image-pull-policy=Never >/dev/null
kubectl run again --image=team/again:2 --image-pull-policy=IfNotPresent >/dev/null
kubectl wait --for=condition=Ready pod/app pod/again --timeout=300s >/dev/null
"""


def test_images_are_loaded_into_the_running_cluster(lab: LabCommand, tmp_path: Path) -> None:
    """Pods start with them without pulling. Images that pods could not use are refused."""
    write_layer(tmp_path / "layer.tar", [cached_binaries(cache_folder()).kubernetes / "pause"])
    layer = (tmp_path / "layer.tar").read_bytes()
    app = docker_archive(tmp_path / "app.tar", ["app:1"], ARCHITECTURE, layer)
    again = docker_archive(tmp_path / "again.tar", ["team/again:2"], ARCHITECTURE, layer)
    short = oci_archive(tmp_path / "short.tar", {REFERENCE: "short:latest"}, ARCHITECTURE)
    other = docker_archive(tmp_path / "other.tar", ["other:1"], "s390x")
    unnamed = docker_archive(tmp_path / "unnamed.tar", None, ARCHITECTURE)
    assert lab.run("load", str(app), str(app)).stdout.split() == ["docker.io/library/app:1"]
    loaded = lab.run("load", str(short))
    assert loaded.stdout.split() == ["docker.io/library/short:latest"]
    assert "imagePullPolicy: IfNotPresent" in loaded.stderr
    assert _typed(lab, f"wisp lab load - < {again}\ngzip -c {again} | wisp lab load -\n{_PODS}").split() == [
        "docker.io/team/again:2",
        "docker.io/team/again:2",
    ]
    assert "other:1 in " in lab.run("load", str(other)).stderr
    assert "has no name" in lab.run("load", str(unnamed)).stderr
    images = _typed(lab, 'ctr -a "$WISP_LAB/node/containerd.sock" -n k8s.io images list -q').split()
    assert {"docker.io/library/app:1", "docker.io/library/short:latest", "docker.io/team/again:2"} <= set(images)
    assert not any("other" in image for image in images)
    assert f"admin       {lab.folder / 'node/admin.conf'}" in lab.run("status").stdout


def test_killed_cluster_is_replaced(lab: LabCommand) -> None:
    """`up` starts another with the webhook, the same Entra and the same issuer."""
    before = _issuer(lab), lab.pid
    process = ProcessIdentity.read(lab.folder / "node" / "process.json")
    assert process is not None
    assert process.stop(signal.SIGKILL, 10)
    assert lab.status()["problems"] == ["the lab's cluster has ended: `wisp lab up` starts a new one"]
    assert "The lab runs already" in lab.up()
    assert (_issuer(lab), lab.pid) == before
    assert lab.status()["problems"] == []


def _issuer(lab: LabCommand) -> str:
    """Return the issuer of the API server in the cloud's kubeconfig."""
    with Store(lab.folder / "cloud.db") as store:
        backing = store.clusters.attachment("any cluster")
    assert backing is not None
    given = lab.folder.parent / "given"
    given.write_text(backing.kubeconfig)
    published = ApiServer(given, {"PATH": lab.variables["PATH"], "HOME": str(lab.home)}).attachment()
    assert (published.issuer_url, published.key_set) == (backing.issuer_url, backing.key_set)
    return published.issuer_url
