"""Wisp's manifest with the values of a lab."""

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
        if "args" in part:
            part["args"].sort()
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _remove_helm_labels(value)


@pytest.mark.chart
@pytest.mark.parametrize("gateway", [False, True], ids=["webhook", "webhook and gateway"])
def test_manifest_is_what_the_chart_makes_of_the_same_values(tmp_path: Path, *, gateway: bool) -> None:
    """Object by object, except for the namespace, which only the plain manifest has."""
    (tmp_path / "ca.crt").write_text(CERTIFICATE)
    values = f"azureTenantID={TENANT},authorityHost={HOST},image.repository=registry.test/wisp,image.release=v2"
    values += f",gateway.enabled={str(gateway).lower()}"
    done = template("--set", values, "--set-file", f"authorityCA={tmp_path / 'ca.crt'}")
    assert done.returncode == 0, done.stderr
    lab = ManifestValues(TENANT, HOST, CERTIFICATE, "registry.test/wisp:v2")
    ours = _objects(fill_manifest(plain_manifest(gateway=gateway), lab))
    del ours["Namespace", "wisp-system"]
    assert ours == _objects(done.stdout)


def _container(text: str, deployment: str = "wisp") -> Any:
    (container,) = _objects(text)["Deployment", deployment]["spec"]["template"]["spec"]["containers"]
    return container


def test_manifest_keeps_its_image_without_another() -> None:
    """For the sidecar and the gateway, too."""
    text = fill_manifest(plain_manifest(gateway=True), ManifestValues(TENANT, HOST, CERTIFICATE))
    container = _container(text)
    assert container["image"].startswith("wisp:")
    assert f"--proxy-image={container['image']}" in container["args"]
    assert _container(text, "wisp-gateway")["image"] == container["image"]


def test_manifest_filled_twice_repeats_no_argument() -> None:
    """They are replaced."""
    another = ManifestValues("another", "https://another/", CERTIFICATE, "another")
    once = fill_manifest(plain_manifest(gateway=True), another)
    twice = fill_manifest(once, ManifestValues(TENANT, HOST, CERTIFICATE, "image"))
    for deployment in ("wisp", "wisp-gateway"):
        container = _container(twice, deployment)
        assert "another" not in str(container)
        assert len({argument.partition("=")[0] for argument in container["args"]}) == len(container["args"])


@pytest.mark.parametrize("text", ["", "kind: Service", "a: b", "{", "kind: Deployment"])
def test_text_that_is_not_the_webhooks_manifest_is_an_error(text: str) -> None:
    """The installation is broken."""
    with pytest.raises(WispError, match=r"wisp's own manifest cannot be used: install wisp again"):
        fill_manifest(text, ManifestValues(TENANT, HOST, CERTIFICATE))


@pytest.mark.system
def test_manifests_are_in_the_wheel(tmp_path: Path) -> None:
    """They are those of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name, gateway in (("wisp.yaml", False), ("wisp-gateway.yaml", True)):
            packed = archive.read(f"wisp_local/lab/{name}").decode()
            assert packed == (ROOT / "deploy" / name).read_text() == plain_manifest(gateway=gateway)
