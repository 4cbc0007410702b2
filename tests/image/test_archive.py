"""The name of an image in an OCI archive, as containerd reads it."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from image.archive import set_name


@pytest.mark.parametrize(
    "name, qualified",
    [
        ("wisp:0.1.0", "docker.io/library/wisp:0.1.0"),
        ("team/wisp:1", "docker.io/team/wisp:1"),
        ("registry.example/wisp:1", "registry.example/wisp:1"),
        ("registry:5000/team/wisp:1", "registry:5000/team/wisp:1"),
        ("localhost/wisp:1", "localhost/wisp:1"),
    ],
)
def test_index_has_the_fully_qualified_name(tmp_path: Path, name: str, qualified: str) -> None:
    """Kubelet uses that name. Everything else in the archive stays the same."""
    archive = tmp_path / "image.tar"
    content = {"index.json": json.dumps({"manifests": [{"digest": "sha256:1"}]}).encode(), "blobs/sha256/1": b"blob"}
    with tarfile.open(archive, "w") as opened:
        for path, text in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text))
    set_name(archive, name)
    with tarfile.open(archive) as opened:
        found = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]  # all are files
    (manifest,) = json.loads(found["index.json"])["manifests"]
    assert manifest["digest"] == "sha256:1"
    assert manifest["annotations"]["io.containerd.image.name"] == qualified
    assert found["blobs/sha256/1"] == b"blob"
