"""The webhook's manifest with the values of a lab."""

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
from wisp_local.lab.cluster import plain_manifest
from wisp_local.lab.manifest import ManifestValues, fill_manifest

HOST = "https://10.201.0.1:8443/"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
_HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def _objects(text: str) -> dict[tuple[str, str], Any]:
    """Return the objects by kind and name, without the labels that Helm adds."""
    found = {}
    for document in filter(None, yaml.safe_load_all(text)):
        _remove_helm_labels(document)
        found[document["kind"], document["metadata"]["name"]] = document
    return found


def _remove_helm_labels(part: Any) -> None:
    if isinstance(part, dict):
        for name in _HELM_LABELS:
            part.pop(name, None)
        if part.get("name") == "webhook" and "args" in part:
            part["args"].sort()
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _remove_helm_labels(value)


@pytest.mark.chart
def test_manifest_is_what_the_chart_makes_of_the_same_values(tmp_path: Path) -> None:
    """Object by object, except for the namespace, which only the plain manifest has."""
    (tmp_path / "ca.crt").write_text(CERTIFICATE)
    values = f"azureTenantID={TENANT},authorityHost={HOST},image.repository=registry.test/wisp,image.release=v2"
    done = template("--set", values, "--set-file", f"authorityCA={tmp_path / 'ca.crt'}")
    assert done.returncode == 0, done.stderr
    ours = _objects(fill_manifest(plain_manifest(), ManifestValues(TENANT, HOST, CERTIFICATE, "registry.test/wisp:v2")))
    del ours["Namespace", "wisp-system"]
    assert ours == _objects(done.stdout)


def test_manifest_keeps_its_image_without_another() -> None:
    """For the sidecar, too."""
    text = fill_manifest(plain_manifest(), ManifestValues(TENANT, HOST, CERTIFICATE))
    (container,) = _objects(text)["Deployment", "wisp"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("wisp:")
    assert f"--proxy-image={container['image']}" in container["args"]


def test_manifest_filled_twice_repeats_no_argument() -> None:
    """They are replaced."""
    once = fill_manifest(plain_manifest(), ManifestValues("another", "https://another/", CERTIFICATE, "another"))
    twice = fill_manifest(once, ManifestValues(TENANT, HOST, CERTIFICATE, "image"))
    (container,) = _objects(twice)["Deployment", "wisp"]["spec"]["template"]["spec"]["containers"]
    assert not [argument for argument in container["args"] if "another" in argument]
    assert len({argument.partition("=")[0] for argument in container["args"]}) == len(container["args"])


@pytest.mark.parametrize("text", ["", "kind: Service", "a: b", "{", "kind: Deployment"])
def test_text_that_is_not_the_webhooks_manifest_is_an_error(text: str) -> None:
    """The installation is broken."""
    with pytest.raises(WispError, match=r"wisp's own manifest cannot be used: install wisp again"):
        fill_manifest(text, ManifestValues(TENANT, HOST, CERTIFICATE))


@pytest.mark.system
def test_manifest_is_in_the_wheel(tmp_path: Path) -> None:
    """It is the one of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("wisp_local/lab/wisp.yaml").decode()
    assert packed == (ROOT / "deploy/wisp.yaml").read_text() == plain_manifest()
