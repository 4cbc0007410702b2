"""Image archives: what is written, what is read before an import, and images of Debian packages."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.wisp_local.lab.node.image_archives import NAME, REFERENCE, docker_archive, oci_archive
from wisp.base.errors import SettingError, ToolError
from wisp_local.lab.node.images import (
    UBUNTU_RECIPE,
    Image,
    check_archive,
    debian_image,
    full_name,
    opened_archive,
    write_image,
    write_layer,
)

PLATFORM = "linux/amd64"


def _image(folder: Path) -> tarfile.TarFile:
    program = folder / "pause"
    program.write_bytes(b"\x7fELF")
    layer = folder / "layer.tar"
    write_layer(layer, [program])
    write_image(folder / "image.tar", Image("wisp.test/pause:1", layer, ("/pause",)), "arm64")
    return tarfile.open(folder / "image.tar")


def _document(image: tarfile.TarFile, path: str) -> Any:
    file = image.extractfile(path)
    assert file is not None
    return json.load(file)


def test_every_blob_is_called_by_its_digest(tmp_path: Path) -> None:
    """OCI image layout: blobs/sha256/DIGEST."""
    with _image(tmp_path) as image:
        blobs = [member for member in image.getmembers() if member.name.startswith("blobs/")]
        assert len(blobs) == 3
        for blob in blobs:
            file = image.extractfile(blob)
            assert file is not None
            assert blob.name == f"blobs/sha256/{hashlib.sha256(file.read()).hexdigest()}"


def test_index_leads_to_the_program(tmp_path: Path) -> None:
    """Index, manifest, configuration and layer refer to each other. The index has the image's name."""
    with _image(tmp_path) as image:
        (named,) = _document(image, "index.json")["manifests"]
        assert named["annotations"] == {"io.containerd.image.name": "wisp.test/pause:1"}
        manifest = _document(image, f"blobs/{named['digest'].replace(':', '/')}")
        config = _document(image, f"blobs/{manifest['config']['digest'].replace(':', '/')}")
        assert (config["architecture"], config["config"]["Cmd"]) == ("arm64", ["/pause"])
        (layer,) = manifest["layers"]
        assert config["rootfs"]["diff_ids"] == [layer["digest"]]
        file = image.extractfile(f"blobs/{layer['digest'].replace(':', '/')}")
        with tarfile.open(fileobj=file) as content:
            (program,) = content.getmembers()
            assert (program.name, program.mode, program.size) == ("pause", 0o755, 4)


def _names(archive: Path) -> list[str]:
    with opened_archive(archive, PLATFORM, "the archive") as (_, names):
        return [full_name(name) for name in names]


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
def test_short_names_are_completed_as_container_tools_do(name: str, full: str) -> None:
    """Docker, containerd and kubelet agree."""
    assert full_name(name) == full


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["no", "gz", "bz2", "xz"])
def test_archives_of_docker_save_are_read_compressed_or_not(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Every tag is a name."""
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
def test_oci_image_layouts_are_read(
    tmp_path: Path, annotations: dict[str, str], name: str, architectures: tuple[str, ...]
) -> None:
    """The name is an annotation. One of several architectures is this machine's."""
    assert _names(oci_archive(tmp_path / "image.tar", annotations, *architectures)) == [name]


def test_archive_is_read_from_a_pipe(tmp_path: Path) -> None:
    """Such as `<(docker save ...)`, which can be read only once."""
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
def test_image_without_a_name_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """The hint says how to name it."""
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
def test_image_for_another_architecture_is_refused(tmp_path: Path, make: Callable[[Path], Path], found: str) -> None:
    """The error names the image's architecture and the node's."""
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
def test_file_that_is_not_an_image_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """The hint lists the known formats."""
    archive = tmp_path / "image.tar"
    archive.write_bytes(content)
    with pytest.raises(SettingError, match=r"image\.tar is not an image archive: give .*docker save.* OCI"):
        check_archive(archive, PLATFORM)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
def test_incomplete_archive_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Such as a download that was cut off."""
    archive = docker_archive(tmp_path / "image.tar", ["app:1"])
    whole = compress(archive.read_bytes())
    archive.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SettingError, match="is not an image archive: give a complete archive"):
        check_archive(archive, PLATFORM)


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b"null", b'{"manifests": [{}]}', b'{"manifests": [{"annotations": {"x": 1}}, 2]}']
)
def test_index_with_unexpected_json_is_reported(tmp_path: Path, document: bytes) -> None:
    """Whatever it contains."""
    archive = tmp_path / "image.tar"
    oci_archive(archive, {NAME: "app:1"})
    changed = tmp_path / "changed.tar"
    _with_index(archive, changed, document)
    with pytest.raises(SettingError, match=r"changed\.tar"):
        check_archive(changed, PLATFORM)


def _with_index(archive: Path, target: Path, document: bytes) -> None:
    with tarfile.open(archive) as source, tarfile.open(target, "w") as tar:
        for member in source.getmembers():
            content = document if member.name == "index.json" else (source.extractfile(member) or io.BytesIO()).read()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["missing.tar", "."], ids=["missing", "a folder"])
def test_unreadable_file_is_reported(tmp_path: Path, name: str) -> None:
    """The reason is the operating system's."""
    with pytest.raises(SettingError, match=r"cannot read .* \((No such file|Is a directory)"):
        check_archive(tmp_path / name, PLATFORM)


def _mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_debian_image_is_built_once_a_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a build is announced."""
    _mmdebstrap(tmp_path, monkeypatch, 'for target; do :; done; tar -cf "$target" -T /dev/null')
    archive = debian_image(tmp_path / "cache", "amd64")
    assert f"Building the stand-in for {UBUNTU_RECIPE.name}" in capsys.readouterr().err
    assert debian_image(tmp_path / "cache", "amd64") == archive
    assert capsys.readouterr().err == ""
    os.utime(archive, (0, 0))
    assert debian_image(tmp_path / "cache", "amd64") == archive
    assert "Building" in capsys.readouterr().err
    assert list((tmp_path / "cache").iterdir()) == [archive.parent]


def test_failed_build_of_a_debian_image_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what mmdebstrap printed."""
    _mmdebstrap(tmp_path, monkeypatch, "echo E: no mirror; exit 1")
    with pytest.raises(ToolError, match="E: no mirror"):
        debian_image(tmp_path / "cache", "amd64")
    assert list((tmp_path / "cache").iterdir()) == []
