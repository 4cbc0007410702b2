"""Reads and renames OCI archives."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_NAME = "io.containerd.image.name"  # the name that containerd gives it at import
_TAG = "org.opencontainers.image.ref.name"


class Config(NamedTuple):
    """How the image is run."""

    user: str
    entrypoint: tuple[str, ...]
    environment: tuple[str, ...]
    labels: Mapping[str, str]


def set_name(archive: Path, name: str) -> None:
    """Write the full name of the image into the archive's index. buildah writes only the tag."""
    renamed = archive.with_name(f".{archive.name}.named")
    with tarfile.open(archive) as old, tarfile.open(renamed, "w") as new:
        for member in old:
            content = old.extractfile(member)
            if member.name == "index.json" and content is not None:
                text = _with_name(content.read(), name)
                member.size, content = len(text), io.BytesIO(text)
            new.addfile(member, content)
    renamed.replace(archive)


def _with_name(index: bytes, name: str) -> bytes:
    document = json.loads(index)
    (manifest,) = document["manifests"]
    manifest["annotations"] = {_NAME: _qualified(name), _TAG: name.rpartition(":")[2]}
    return json.dumps(document).encode()


def _qualified(name: str) -> str:
    """Return the full name, by which kubelet asks containerd for the image."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def config(archive: Path) -> Config:
    """Return how the image is run."""
    with tarfile.open(archive) as outer:
        document = _blob(outer, _manifest(outer)["config"]["digest"])["config"]
    return Config(document["User"], tuple(document["Entrypoint"]), tuple(document["Env"]), document.get("Labels") or {})


def files(archive: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Return every member of the layers, in order, with its content. Names are relative to the root."""
    with tarfile.open(archive) as outer:
        for layer in _manifest(outer)["layers"]:
            with tarfile.open(fileobj=outer.extractfile(_path(layer["digest"]))) as root:
                for member in root:
                    content = root.extractfile(member) if member.isfile() else None
                    yield member, content.read() if content else b""


def _manifest(outer: tarfile.TarFile) -> Any:
    index = outer.extractfile("index.json")
    (manifest,) = json.loads(index.read() if index else b"")["manifests"]
    return _blob(outer, manifest["digest"])


def _blob(outer: tarfile.TarFile, digest: str) -> Any:
    content = outer.extractfile(_path(digest))
    return json.loads(content.read() if content else b"")


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
