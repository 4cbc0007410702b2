"""A Python with the Azure SDK, for a pod: an image made of the base of wisp's own, and a folder of packages beside it.

The packages are those that the SDKs' matrix is run with (tests/interop), for the Python in the image.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from image import archive, wheels
from image.base import debian_base
from tests.cluster.manifests import Manifest, container, pod
from tests.cluster.site import Site
from tests.support.paths import ROOT
from wisp_local.sandbox.builds import Builder, Product
from wisp_local.sandbox.folders import cache_folder

IMAGE = "python:3.11"
_NAME = "the Azure SDK for Python"
_REQUIREMENTS = ROOT / "tests" / "interop" / "clients" / "python" / "requirements.txt"


def image(folder: Path) -> Path:
    """Make the image's archive in `folder`."""
    made = folder / "python.tar"
    shutil.copyfile(debian_base().removeprefix("oci-archive:"), made)
    archive.set_name(made, IMAGE)
    return made


def load(site: Site, folder: Path) -> None:
    """Put the image into the cluster; `folder` is for its archive, which is removed afterwards."""
    made = image(folder)
    site.node.load(made)
    made.unlink()  # pytest would keep 250 MB three times


def python_pod(name: str, annotations: dict[str, str]) -> Manifest:
    """Return a pod whose application has Python and the SDK."""
    app = container(
        "app",
        image=IMAGE,
        env=[{"name": "PYTHONPATH", "value": "/sdk"}],
        volumeMounts=[{"name": "sdk", "mountPath": "/sdk", "readOnly": True}],
    )
    volumes = [{"name": "sdk", "hostPath": {"path": str(packages()), "type": "Directory"}}]
    return pod(name, app, annotations=annotations, volumes=volumes)


def packages(cache: Path | None = None, builder: Builder | None = None) -> Path:
    """Return the folder of packages, cached in `~/.cache/wisp/cluster-sdk-HASH/` for as long as they stay the same."""
    key = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    builder = builder or Builder()

    def make(draft: Path) -> Path:
        made = draft / "packages"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install")
        locked = ("--require-hashes", "--requirement", str(_REQUIREMENTS))
        command = [*pip, "--root-user-action=ignore", *locked, *wheels.for_base(), "--target", str(made)]
        builder.run(_NAME, command)
        return made

    product = Product(
        name=_NAME,
        reason="a test in a cluster runs Python with the SDK in a pod",
        usual_duration="about 15 seconds",
        path=f"cluster-sdk-{key}",
    )
    return builder.obtain(product, cache or cache_folder(), make)
