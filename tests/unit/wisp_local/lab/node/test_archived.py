"""What an image archive holds is known before it is imported, and an archive that pods could not use is refused."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.wisp_local.lab.node.archives import NAME, REFERENCE, docker_archive, oci_archive
from wisp.base.errors import SettingError
from wisp_local.lab.node.archived import check_archive, full_name, plain, read_archive

PLATFORM = "linux/amd64"


def _names(archive: Path) -> list[str]:
    with plain(archive, "the archive") as content:
        return [each.full_name for each in read_archive(content, PLATFORM, "the archive")]


@pytest.mark.parametrize(
    "name, full",
    [
        ("app", "docker.io/library/app:latest"),
        ("app:1", "docker.io/library/app:1"),
        ("team/app:1", "docker.io/team/app:1"),
        ("registry.example/app", "registry.example/app:latest"),
        ("registry:5000/team/app:1", "registry:5000/team/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("app@sha256:aa", "docker.io/library/app@sha256:aa"),
    ],
)
def test_full_names(name: str, full: str) -> None:
    """As docker, containerd and kubelet complete them."""
    assert full_name(name) == full


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["no", "gz", "bz2", "xz"])
def test_what_docker_saves(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Every tag is a name; compression does not matter."""
    archive = docker_archive(tmp_path / "image.tar", ["app:1", "team/app:2"])
    archive.write_bytes(compress(archive.read_bytes()))
    assert _names(archive) == ["docker.io/library/app:1", "docker.io/team/app:2"]


@pytest.mark.parametrize(
    "annotations, name",
    [
        ({REFERENCE: "registry.example/app:1"}, "registry.example/app:1"),
        ({REFERENCE: "app:1"}, "docker.io/library/app:1"),
        ({NAME: "docker.io/library/app:1", REFERENCE: "1"}, "docker.io/library/app:1"),
    ],
    ids=["buildah, full name", "buildah, short name", "docker"],
)
@pytest.mark.parametrize("architectures", [("amd64",), ("arm64", "amd64")], ids=["one", "several"])
def test_oci_image_layouts(
    tmp_path: Path, annotations: dict[str, str], name: str, architectures: tuple[str, ...]
) -> None:
    """The name is an annotation; of several architectures, this machine's is among them."""
    assert _names(oci_archive(tmp_path / "image.tar", annotations, *architectures)) == [name]


def test_a_pipe(tmp_path: Path) -> None:
    """As of `<(docker save ...)`: it is read once only."""
    archive = docker_archive(tmp_path / "image.tar", ["app:1"])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(archive.read_bytes()))
    writer.start()
    assert _names(pipe) == ["docker.io/library/app:1"]
    writer.join()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: docker_archive(path, None),
        lambda path: docker_archive(path, []),
        lambda path: oci_archive(path, {}),
        lambda path: oci_archive(path, {REFERENCE: "latest"}),
    ],
    ids=["docker, null", "docker, empty", "oci", "oci, a tag alone"],
)
def test_an_image_without_a_name(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """How to name it is said."""
    with pytest.raises(SettingError, match=r"image\.tar has no name, .*docker save -o FILE NAME:TAG"):
        check_archive(make(tmp_path / "image.tar"), PLATFORM)


@pytest.mark.parametrize(
    "make, found",
    [
        (lambda path: docker_archive(path, ["app:1"], "arm64"), "linux/arm64"),
        (lambda path: oci_archive(path, {NAME: "app:1"}, "arm64"), "linux/arm64"),
        (lambda path: oci_archive(path, {NAME: "app:1"}, "arm64", "s390x"), "linux/arm64 and linux/s390x"),
    ],
    ids=["docker", "oci", "oci, several"],
)
def test_another_architecture(tmp_path: Path, make: Callable[[Path], Path], found: str) -> None:
    """The image's and the node's are named."""
    with pytest.raises(SettingError, match=rf"^app:1 in .* is for {found}, and the node is {PLATFORM}: build"):
        check_archive(make(tmp_path / "image.tar"), PLATFORM)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\0" * 10240,
        gzip.compress(b"text"),
        b"\x1f\x8bgzip?",
        b"BZhbzip2?",
        b"\xfd7zXZ\0xz?",
        b"(\xb5/\xfd",
    ],
    ids=["empty", "text", "zeros", "compressed text", "gz", "bz2", "xz", "zstd"],
)
def test_what_is_no_image_archive(tmp_path: Path, content: bytes) -> None:
    """Which formats are known is said."""
    archive = tmp_path / "image.tar"
    archive.write_bytes(content)
    with pytest.raises(SettingError, match=r"image\.tar is not an image archive: give .*docker save.* OCI"):
        check_archive(archive, PLATFORM)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
def test_an_incomplete_archive(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """A download that was cut off."""
    archive = docker_archive(tmp_path / "image.tar", ["app:1"])
    whole = compress(archive.read_bytes())
    archive.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SettingError, match="is not an image archive: give a complete archive"):
        check_archive(archive, PLATFORM)


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b"null", b'{"manifests": [{}]}', b'{"manifests": [{"annotations": {"x": 1}}, 2]}']
)
def test_an_index_of_another_shape(tmp_path: Path, document: bytes) -> None:
    """It is reported, whatever it is."""
    archive = tmp_path / "image.tar"
    oci_archive(archive, {NAME: "app:1"})
    changed = tmp_path / "changed.tar"
    _with_index(archive, changed, document)
    with pytest.raises(SettingError, match=r"changed\.tar"):
        check_archive(changed, PLATFORM)


def _with_index(archive: Path, target: Path, document: bytes) -> None:
    with tarfile.open(archive) as source, tarfile.open(target, "w") as tar:
        for each in source.getmembers():
            content = document if each.name == "index.json" else (source.extractfile(each) or io.BytesIO()).read()
            each.size = len(content)
            tar.addfile(each, io.BytesIO(content))


@pytest.mark.parametrize("name", ["missing.tar", "."], ids=["missing", "a folder"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """The reason is the system's."""
    with pytest.raises(SettingError, match=r"cannot read .* \((No such file|Is a directory)"):
        check_archive(tmp_path / name, PLATFORM)
