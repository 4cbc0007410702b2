"""The cluster that `wisp lab up --cluster` starts: a node on this machine, with wisp's image in it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

import wisp
from wisp.base.errors import SettingError, ToolError
from wisp_local.lab.node.binaries import binaries, cached_binaries
from wisp_local.lab.node.images import UBUNTU, check_archive, debian_image
from wisp_local.lab.node.network import Network
from wisp_local.lab.node.node import ARCHITECTURE, PLATFORM, Node, Prepared, check_machine
from wisp_local.lab.places import Places, write
from wisp_local.sandbox.building import cache_folder

_NUMBERS = range(100)  # of the 255 that there are


class NodeCluster:
    """The node of the lab in `places`, with the walk-through's image in it besides wisp's: it can pull none itself.

    Its number is the lab's for good: its addresses, and so the issuer's URL, depend on it.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._number_file = places.folder / "node.number"
        self._prepared: tuple[Prepared, Path, list[Path]] | None = None

    @property
    def _node(self) -> Node:
        number = int(self._number_file.read_text(encoding="ascii")) if self._number_file.exists() else 0
        return Node(self._places.node, cached_binaries(cache_folder()), number)

    def prepare(self, image: Path | None, load: Sequence[Path]) -> str:
        """Make its network, unless it runs; return this machine's address in it. What is not built yet is built now."""
        for each in load:
            check_archive(each, PLATFORM)
        if self.is_running():
            return self._node.network.host
        archive = image or Path(wisp.__file__).parents[2] / "dist" / "wisp-image.tar"
        if not archive.is_file():
            problem = f"there is no image to run in the cluster ({archive})"
            raise SettingError(problem, hint="`make image` in a checkout makes it; or name one: --image-archive FILE")
        check_archive(archive, PLATFORM)
        check_machine()  # before a build of minutes
        binaries()
        images = _standin()
        if not self._number_file.exists():
            write(self._number_file, str(_free_number()))
        self.stop()
        prepared = self._node.prepare()
        self._prepared = prepared, archive, images
        return prepared.host

    def start(self, issuer_url: str) -> Path:
        """Start it with wisp's image, unless it runs; return its kubeconfig."""
        if self._prepared is not None:
            prepared, archive, _ = self._prepared
            try:
                self._node.start(prepared, issuer_url, archive)
            except BaseException:
                self._node.stop()
                raise
        if shutil.which("kubectl") is None:
            link = self._places.programs / "kubectl"
            link.unlink(missing_ok=True)
            link.symlink_to(self._node.binaries.kubectl)
        return self._node.kubeconfig

    def finish(self, load: Sequence[Path]) -> None:
        """Load what stands for the walk-through's image, unless it was there before, and the images of `load`."""
        if self._prepared is not None:
            _, _, images = self._prepared
            for each in images:
                self._node.load(each)
            self._whole.touch(0o600)
        for each in load:
            self._node.load(each)

    @property
    def _whole(self) -> Path:
        """A file that is there once the node has all that it needs: whoever started it may have been killed before."""
        return self._node.folder / "whole"

    def load(self, archive: Path, shown: str) -> list[str]:
        """Load the images of an archive, called `shown` in messages, and return their names."""
        return self._node.load(archive, shown)

    def stop(self) -> None:
        """End it; nothing happens when there is none."""
        if self._node.folder.exists():
            self._node.stop()

    def is_running(self) -> bool:
        """Tell whether it runs, and is whole."""
        return self._node.is_running() and self._whole.exists()


def _standin() -> list[Path]:
    """Return what stands for the walk-through's ubuntu:20.04, where that can be made; all else works without."""
    try:
        return [debian_image(cache_folder(), ARCHITECTURE)]
    except ToolError as error:
        click.echo(f"note: {UBUNTU} is not in the cluster: {error}", err=True)
        return []


def _free_number() -> int:
    for each in _NUMBERS:
        if not Path("/sys/class/net", Network(each).device).exists():
            return each
    raise SettingError("there are a hundred clusters on this machine", hint="end one: `wisp lab down`")
