"""The webhook's manifest, filled in for a lab."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.cases import TENANT, template
from tests.support.paths import ROOT
from wisp.base.errors import WispError
from wisp_local.lab.behind import plain_manifest
from wisp_local.lab.manifest import Filling, filled

HOST = "https://10.201.0.1:8443/"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
_OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def _objects(text: str) -> dict[tuple[str, str], Any]:
    """Return the objects by kind and name, without the labels that Helm adds."""
    found = {}
    for document in filter(None, yaml.safe_load_all(text)):
        _without_helm(document)
        found[document["kind"], document["metadata"]["name"]] = document
    return found


def _without_helm(part: Any) -> None:
    if isinstance(part, dict):
        for name in _OF_HELM:
            part.pop(name, None)
        if part.get("name") == "webhook" and "args" in part:
            part["args"].sort()
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _without_helm(each)


@pytest.mark.chart
def test_it_is_what_the_chart_makes_of_the_same_values(tmp_path: Path) -> None:
    """Object by object; only the namespace is the plain manifest's own."""
    (tmp_path / "ca.crt").write_text(CERTIFICATE)
    values = f"azureTenantID={TENANT},authorityHost={HOST},image.repository=registry.test/wisp,image.release=v2"
    done = template("--set", values, "--set-file", f"authorityCA={tmp_path / 'ca.crt'}")
    assert done.returncode == 0, done.stderr
    ours = _objects(filled(plain_manifest(), Filling(TENANT, HOST, CERTIFICATE, "registry.test/wisp:v2")))
    del ours["Namespace", "wisp-system"]
    assert ours == _objects(done.stdout)


def test_without_an_image_it_keeps_its_own() -> None:
    """The manifest's."""
    text = filled(plain_manifest(), Filling(TENANT, HOST, CERTIFICATE))
    (container,) = _objects(text)["Deployment", "wisp"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("wisp:")
    assert f"--proxy-image={container['image']}" in container["args"]


def test_filled_twice_is_as_once_but_for_the_volume() -> None:
    """Arguments are replaced, not repeated."""
    once = filled(plain_manifest(), Filling("another", "https://another/", CERTIFICATE, "another"))
    twice = filled(once, Filling(TENANT, HOST, CERTIFICATE, "image"))
    (container,) = _objects(twice)["Deployment", "wisp"]["spec"]["template"]["spec"]["containers"]
    assert not [each for each in container["args"] if "another" in each]
    assert len({each.partition("=")[0] for each in container["args"]}) == len(container["args"])


@pytest.mark.parametrize("text", ["", "kind: Service", "a: b", "{", "kind: Deployment"])
def test_what_is_no_manifest_of_ours_is_an_error(text: str) -> None:
    """An installation that is broken says so."""
    with pytest.raises(WispError, match=r"wisp's own manifest cannot be used: install wisp anew"):
        filled(text, Filling(TENANT, HOST, CERTIFICATE))


@pytest.mark.system
def test_it_is_in_the_wheel(tmp_path: Path) -> None:
    """What is installed has it, and it is the one of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("wisp_local/lab/wisp.yaml").decode()
    assert packed == (ROOT / "deploy/wisp.yaml").read_text() == plain_manifest()
