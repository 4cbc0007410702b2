"""An OCI archive: its name, and the files of the root that it holds."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_NAME = "io.containerd.image.name"  # what containerd calls it when it is imported
_TAG = "org.opencontainers.image.ref.name"


class Config(NamedTuple):
    """What the image says of how it is run."""

    user: str
    entrypoint: tuple[str, ...]
    environment: tuple[str, ...]
    labels: Mapping[str, str]


def set_name(archive: Path, name: str) -> None:
    """Write the image's name into the archive's index, where buildah leaves room for a tag only."""
    draft = archive.with_name(f".{archive.name}.named")
    with tarfile.open(archive) as old, tarfile.open(draft, "w") as new:
        for member in old:
            content = old.extractfile(member)
            if member.name == "index.json" and content is not None:
                text = _named(content.read(), name)
                member.size, content = len(text), io.BytesIO(text)
            new.addfile(member, content)
    draft.replace(archive)


def _named(index: bytes, name: str) -> bytes:
    document = json.loads(index)
    (manifest,) = document["manifests"]
    manifest["annotations"] = {_NAME: _qualified(name), _TAG: name.rpartition(":")[2]}
    return json.dumps(document).encode()


def _qualified(name: str) -> str:
    """Return the name as kubelet asks containerd for it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def config(archive: Path) -> Config:
    """Read how the image is run."""
    with tarfile.open(archive) as opened:
        document = _blob(opened, _manifest(opened)["config"]["digest"])["config"]
    return Config(document["User"], tuple(document["Entrypoint"]), tuple(document["Env"]), document.get("Labels") or {})


def files(archive: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Give every member of the root's layers, in order, with its content. Names are relative to the root."""
    with tarfile.open(archive) as opened:
        for layer in _manifest(opened)["layers"]:
            with tarfile.open(fileobj=opened.extractfile(_path(layer["digest"]))) as root:
                for member in root:
                    content = root.extractfile(member) if member.isfile() else None
                    yield member, content.read() if content else b""


def _manifest(opened: tarfile.TarFile) -> Any:
    index = opened.extractfile("index.json")
    (manifest,) = json.loads(index.read() if index else b"")["manifests"]
    return _blob(opened, manifest["digest"])


def _blob(opened: tarfile.TarFile, digest: str) -> Any:
    content = opened.extractfile(_path(digest))
    return json.loads(content.read() if content else b"")


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
