"""A shared cluster with wisp, for tests that leave it unchanged, and others for tests that do not."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cluster import gateway
from tests.cluster.cluster import EXEMPT, NAMESPACE, Cluster, running_cluster, ubuntu_image, wisp_image
from tests.cluster.stream import NAMESPACE as STREAM

NewCluster = Callable[[], AbstractContextManager[Cluster]]


@pytest.fixture(name="images", scope="session")
def _images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build wisp's image, and a replacement of ubuntu:20.04."""
    return [wisp_image(tmp_path_factory.mktemp("image")), ubuntu_image()]


@pytest.fixture(name="cluster", scope="session")
def _cluster(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run the shared cluster, with wisp installed by Helm."""
    with _with_images(images, tmp_path_factory.mktemp("cluster")) as running:
        running.install(f"exemptNamespaces={{{EXEMPT}}}")
        yield running


@pytest.fixture(name="new_cluster")
def _new_cluster(images: list[Path], tmp_path: Path) -> NewCluster:
    """Give a function that runs a cluster with the images and without wisp, one at a time."""
    return lambda: _with_images(images, tmp_path)


@pytest.fixture(name="spare", scope="session")
def _spare(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster for tests that break or remove the webhook: see `installed` and `uninstalled`."""
    with _with_images(images, tmp_path_factory.mktemp("spare")) as running:
        yield running


@pytest.fixture(name="installed")
def _installed(spare: Cluster) -> Cluster:
    """Give the spare cluster with the chart's defaults, whatever the last test has changed."""
    spare.install()
    return spare


@pytest.fixture(name="gateway", scope="module")
def _gateway(spare: Cluster) -> Cluster:
    """Give the spare cluster with the token gateway."""
    gateway.install(spare)
    return spare


@pytest.fixture(name="uninstalled")
def _uninstalled(spare: Cluster) -> Cluster:
    """Give the spare cluster without wisp and without the remains of its tests."""
    spare.helm("uninstall", "wisp", "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
    spare.kubectl("delete", "namespace", NAMESPACE, STREAM, "--ignore-not-found")
    return spare


@contextmanager
def _with_images(images: list[Path], folder: Path) -> Iterator[Cluster]:
    with running_cluster(folder) as running:
        for image in images:
            running.node.load(image)
        yield running
