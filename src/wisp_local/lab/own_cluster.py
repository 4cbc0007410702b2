"""The cluster that the lab starts itself: a node on this machine, with wisp's image in it."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import wisp
from wisp.base.errors import SettingError, ToolError
from wisp_local.lab.node.binaries import binaries, cached_binaries
from wisp_local.lab.node.images import UBUNTU, check_archive, debian_image
from wisp_local.lab.node.network import Network
from wisp_local.lab.node.node import ARCHITECTURE, PLATFORM, Node, check_machine
from wisp_local.lab.paths import LabPaths, write
from wisp_local.sandbox.folders import cache_folder
from wisp_local.sandbox.namespaces import NetworkNamespace

_NODE_NUMBERS = range(100)  # of 255


class OwnCluster:
    """The lab's own cluster, with the walk-through's image in it besides wisp's: it can pull no image.

    The number of its node never changes: its addresses, and so the issuer's URL, depend on it.
    """

    def __init__(self, paths: LabPaths) -> None:
        self._paths = paths
        self._prepared: tuple[NetworkNamespace, Path, list[Path]] | None = None

    @property
    def _node(self) -> Node:
        file = self._paths.node_number
        number = int(file.read_text(encoding="ascii")) if file.exists() else 0
        return Node(self._paths.node, cached_binaries(cache_folder()), number)

    @property
    def _complete(self) -> Path:
        """A file that exists once the node has all it needs: the command that starts it may have been killed."""
        return self._paths.node / "whole"

    def prepare(self, image: Path | None, load: Sequence[Path]) -> str:
        """Make the cluster's network unless the cluster runs; return the address at which it reaches this machine.

        `image` is the archive of wisp's image, and `load` are those of further images: they are checked first. Builds
        what is not in the cache.
        """
        for archive in load:
            check_archive(archive, PLATFORM)
        if self.is_running():
            return self._node.network.host
        archive = image or Path(wisp.__file__).parents[2] / "dist" / "wisp-image.tar"
        if not archive.is_file():
            problem = f"there is no image to run in the cluster ({archive})"
            raise SettingError(problem, hint="`make image` in a checkout makes it; or name one: --image-archive FILE")
        check_archive(archive, PLATFORM)
        check_machine()  # before a build of minutes
        binaries()
        images = _walkthrough_images()
        if not self._paths.node_number.exists():
            write(self._paths.node_number, str(_free_number()))
        self.stop()
        self._prepared = self._node.prepare(), archive, images
        return self._node.network.host

    def start(self, issuer_url: str) -> Path:
        """Start the cluster with wisp's image unless it runs; return its kubeconfig when it is ready."""
        if self._prepared is not None:
            namespace, archive, _ = self._prepared
            try:
                self._node.start(namespace, issuer_url, archive)
            except BaseException:
                self._node.stop()
                raise
        if shutil.which("kubectl") is None:
            link = self._paths.programs / "kubectl"
            link.unlink(missing_ok=True)
            link.symlink_to(self._node.binaries.kubectl)
        return self._node.kubeconfig

    def load_images(self, archives: Sequence[Path]) -> None:
        """Load the walk-through's image, if the cluster was just started, and `archives`. Pods can start meanwhile."""
        if self._prepared is not None:
            _, _, images = self._prepared
            for image in images:
                self._node.load(image)
            self._complete.touch(0o600)
        for archive in archives:
            self._node.load(archive)

    def load(self, archive: Path, label: str) -> list[str]:
        """Load the images of an archive, called `label` in messages; return the names by which pods find them."""
        return self._node.load(archive, label)

    def stop(self) -> None:
        """End the cluster with everything in it, if there is one."""
        if self._paths.node.exists():
            self._node.stop()

    def is_running(self) -> bool:
        """Tell whether the cluster runs and is complete."""
        return self._node.is_running() and self._complete.exists()


def _walkthrough_images() -> list[Path]:
    """Return the image for the walk-through's ubuntu:20.04 if it can be made; everything else works without it."""
    try:
        return [debian_image(cache_folder(), ARCHITECTURE)]
    except ToolError as error:
        sys.stderr.write(f"note: {UBUNTU} is not in the cluster: {error}\n")
        return []


def _free_number() -> int:
    for number in _NODE_NUMBERS:
        if not Path("/sys/class/net", Network(number).device).exists():
            return number
    raise SettingError("there are a hundred clusters on this machine", hint="end one: `wisp lab down`")
