"""Python with the Azure SDK for a pod: an image made from the base of wisp's, and a folder of packages.

The packages are those of the SDK matrix (tests/interop), for the Python in the image.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from image import archive, wheels
from image.base import debian_base
from tests.cluster.cluster import Cluster
from tests.cluster.manifests import Manifest, container, pod
from tests.support.paths import ROOT
from wisp_local.sandbox.builds import Builder, Product
from wisp_local.sandbox.folders import cache_folder

IMAGE = "python:3.11"
_NAME = "the Azure SDK for Python"
_REQUIREMENTS = ROOT / "tests" / "interop" / "clients" / "python" / "requirements.txt"


def image(folder: Path) -> Path:
    """Write the image's archive to `folder`."""
    made = folder / "python.tar"
    shutil.copyfile(debian_base().removeprefix("oci-archive:"), made)
    archive.set_name(made, IMAGE)
    return made


def load(cluster: Cluster, folder: Path) -> None:
    """Load the image into the cluster; its archive is written to `folder` and removed."""
    made = image(folder)
    cluster.node.load(made)
    made.unlink()  # 250 MB, which pytest would keep for three runs


def python_pod(name: str, annotations: dict[str, str]) -> Manifest:
    """Return a pod with Python and the SDK."""
    app = container(
        "app",
        image=IMAGE,
        env=[{"name": "PYTHONPATH", "value": "/sdk"}],
        volumeMounts=[{"name": "sdk", "mountPath": "/sdk", "readOnly": True}],
    )
    volumes = [{"name": "sdk", "hostPath": {"path": str(packages()), "type": "Directory"}}]
    return pod(name, app, annotations=annotations, volumes=volumes)


def packages(cache: Path | None = None, builder: Builder | None = None) -> Path:
    """Return the folder of packages, cached in `~/.cache/wisp/cluster-sdk-HASH/`, where HASH is of the lock file."""
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
