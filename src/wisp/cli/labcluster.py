"""The cluster that `wisp lab up --cluster` starts: a node on this machine, with wisp's image in it."""

import shutil
from pathlib import Path

import wisp
from wisp.errors import SettingError
from wisp.lab.cluster.binaries import binaries, cache_folder, folder
from wisp.lab.cluster.node import Node, Prepared


class NodeCluster:
    """The node in `place`, which the image archive `archive` is loaded into; kubectl is put into `programs`."""

    def __init__(self, place: Path, programs: Path, archive: Path | None) -> None:
        self._node = Node(place, folder(cache_folder()))
        self._programs = programs
        self._archive = archive or Path(wisp.__file__).parents[2] / "dist" / "wisp-image.tar"
        self._prepared: Prepared | None = None

    def prepare(self) -> str:
        """Make its network, unless it runs; return this machine's address in it. Kubernetes is built now if need be."""
        if self.is_running():
            return self._node.network.host
        if not self._archive.is_file():
            problem = f"there is no image to run in the cluster ({self._archive})"
            raise SettingError(problem, remedy="`make image` in a checkout makes it; or name one: --image-archive FILE")
        binaries()
        self._prepared = self._node.prepare()
        return self._prepared.host

    def start(self, issuer_url: str) -> Path:
        """Start it, unless it runs, and load the image; return its kubeconfig."""
        if self._prepared is not None:
            self._node.start(self._prepared, issuer_url)
            self._node.load(self._archive)
        if shutil.which("kubectl") is None:
            link = self._programs / "kubectl"
            link.unlink(missing_ok=True)
            link.symlink_to(self._node.binaries / "kubectl")
        return self._node.kubeconfig

    def stop(self) -> None:
        """End it; nothing happens when there is none."""
        if self._node.folder.exists():
            self._node.stop()

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self._node.is_running()
