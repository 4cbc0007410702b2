"""The image, built once for all tests from Debian packages; WISP_IMAGE names another archive to test."""

import os
from pathlib import Path

import pytest

from image.archive import config
from image.build import build
from tests.image.container import Image, unpack
from tests.support.needs import NAMESPACES, need

NAME = "wisp:test"


@pytest.fixture(name="image", scope="session")
def _image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    need(NAMESPACES, "buildah", "mmdebstrap", "crun", "unshare", "nft")
    folder = tmp_path_factory.mktemp("image")
    given = os.environ.get("WISP_IMAGE")
    archive = Path(given) if given else build(NAME, folder / "wisp.tar")
    root = folder / "root"
    unpack(archive, root)
    _open(root)
    return Image(archive, root, config(archive))


def _open(root: Path) -> None:
    """Let every user enter the root: pytest's folders are closed."""
    for folder in (root, *root.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
