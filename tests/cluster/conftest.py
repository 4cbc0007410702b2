"""One cluster with wisp installed, for all tests that leave it as it was; those that do not start one of their own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cluster.site import EXEMPT, NAMESPACE, Site, site, ubuntu_image, wisp_image
from tests.cluster.stream import NAMESPACE as STREAM

NewSite = Callable[[], AbstractContextManager[Site]]


@pytest.fixture(name="images", scope="session")
def _images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build wisp's image, and one that stands for ubuntu:20.04."""
    return [wisp_image(tmp_path_factory.mktemp("image")), ubuntu_image()]


@pytest.fixture(name="cluster", scope="session")
def _cluster(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the cluster that is shared, with wisp installed by helm."""
    with _filled(images, tmp_path_factory.mktemp("cluster")) as running:
        running.install(f"exemptNamespaces={{{EXEMPT}}}")
        yield running


@pytest.fixture(name="new_cluster")
def _new_cluster(images: list[Path], tmp_path: Path) -> NewSite:
    """Make clusters of one's own, one at a time, with the images and without wisp."""
    return lambda: _filled(images, tmp_path)


@pytest.fixture(name="spare", scope="session")
def _spare(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the cluster whose webhook is broken, removed and installed anew: ask for `served` or `unserved`."""
    with _filled(images, tmp_path_factory.mktemp("spare")) as running:
        yield running


@pytest.fixture(name="served")
def _served(spare: Site) -> Site:
    """Have wisp there as the chart has it by default, whatever the last test has done to it."""
    spare.install()
    return spare


@pytest.fixture(name="unserved")
def _unserved(spare: Site) -> Site:
    """Have no wisp there, and nothing that tests of it have left."""
    spare.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
    spare.kubectl("delete", "namespace", NAMESPACE, STREAM, "--ignore-not-found")
    return spare


@contextmanager
def _filled(images: list[Path], folder: Path) -> Iterator[Site]:
    with site(folder) as running:
        for each in images:
            running.node.load(each)
        yield running
