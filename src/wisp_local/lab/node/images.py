"""Container images as archives: written without a tool, made of Debian packages, and checked before they are loaded.

Archives are OCI image layouts (OCI image-spec), or what `docker save` writes. containerd's client imports without an
error what pods cannot use, images without a name and images of another architecture, so archives are read first.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp.base.errors import SettingError
from wisp_local.sandbox.builds import Builder, Product

_MEDIA_TYPE = "application/vnd.oci.image"
_NAME = "io.containerd.image.name"
_REFERENCE = "org.opencontainers.image.ref.name"
_INDEX = re.compile(r"(image\.index|manifest\.list)")
_INDEX_DEPTH = 3  # indexes within indexes
_DOCUMENT_LIMIT = 8 * 1024 * 1024  # bytes; manifests and configurations are a few kilobytes
_DEVICES = Path("/dev")
"""A path in here, such as /dev/stdin or /dev/fd/63, is another file for another process."""
_DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""By the first bytes of a compressed archive."""
_SAVE = "save it with its name: `docker save -o FILE NAME:TAG`, or `buildah push NAME:TAG oci-archive:FILE:NAME:TAG`"
_MALFORMED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, AttributeError)
"""Exceptions for content that is not an image archive."""
UBUNTU = "docker.io/library/ubuntu:20.04"
"""The name that kubelet asks the container runtime for when a pod's image is ubuntu:20.04."""
_SUITE = "bookworm"
_SLIM = (
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
)
"""Options of mmdebstrap that leave out a quarter of the bytes, which every start of a cluster unpacks."""
_MAX_AGE = 30 * 86400  # seconds


@dataclass(frozen=True)
class Image:
    """An image with one layer, an uncompressed tar archive. Its containers run `command` by default."""

    name: str
    layer: Path
    command: tuple[str, ...]


def write_layer(target: Path, programs: Iterable[Path]) -> None:
    """Write a tar archive with `programs` in its root, executable for all users."""
    with tarfile.open(target, "w") as tar:
        for program in programs:
            info = tarfile.TarInfo(program.name)
            info.size, info.mode = program.stat().st_size, 0o755
            with program.open("rb") as file:
                tar.addfile(info, file)


def write_image(target: Path, image: Image, architecture: str) -> None:
    """Write the archive of `image` for `architecture` (in Go's terms: amd64, arm64)."""
    files: dict[str, bytes] = {}

    def add_blob(kind: str, document: object) -> dict[str, object]:
        """Add a blob, and return its descriptor."""
        blob = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        files[_blob_path(digest)] = blob
        return {"mediaType": f"{_MEDIA_TYPE}.{kind}+json", "digest": digest, "size": len(blob)}

    with image.layer.open("rb") as file:
        layer_digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    layer = {"mediaType": f"{_MEDIA_TYPE}.layer.v1.tar", "digest": layer_digest, "size": image.layer.stat().st_size}
    settings = {"Cmd": list(image.command), "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]}
    rootfs = {"type": "layers", "diff_ids": [layer_digest]}
    config = add_blob("config.v1", {"architecture": architecture, "os": "linux", "config": settings, "rootfs": rootfs})
    media_type = f"{_MEDIA_TYPE}.manifest.v1+json"
    manifest = add_blob(
        "manifest.v1", {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}
    )
    index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": {_NAME: image.name}}]}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(target, "w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.add(image.layer, _blob_path(layer_digest))


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@dataclass(frozen=True)
class Recipe:
    """An image called `name`, of Debian's smallest system and `packages`. Its containers run `command` by default."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]


UBUNTU_RECIPE = Recipe(UBUNTU, ("ca-certificates", "curl"), ("/bin/bash",))


def debian_image(
    cache: Path, architecture: str, recipe: Recipe = UBUNTU_RECIPE, builder: Builder | None = None
) -> Path:
    """Return the archive of an image that replaces one of a registry, where no registry is reached. Raise ToolError.

    It is cached in `~/.cache/wisp/standin-HASH/`. mmdebstrap builds it in 20 seconds if it is not cached yet, or is a
    month old.
    """
    key = hashlib.sha256(repr((recipe, _SUITE, _SLIM, architecture)).encode()).hexdigest()[:12]
    builder = builder or Builder()
    name = f"the stand-in for {recipe.name}"

    def make(draft: Path) -> Path:
        archive, layer = draft / "image.tar", draft / "layer.tar"
        included = f"--include={','.join(recipe.packages)}"
        builder.run(name, ["mmdebstrap", "--variant=minbase", *_SLIM, included, _SUITE, str(layer)])
        write_image(archive, Image(recipe.name, layer, recipe.command), architecture)
        return archive

    product = Product(
        name=name,
        reason="clusters on this machine pull no images, so this one is made of Debian packages",
        usual_duration="about 20 seconds, up to 75 seconds on a busy machine",
        path=f"standin-{key}/image.tar",
        tools={"mmdebstrap": "apt-get install mmdebstrap"},
        max_age=_MAX_AGE,
    )
    return builder.obtain(product, cache, make)


def full_name(name: str) -> str:
    """Return a name with registry and tag, as container tools complete it: app is docker.io/library/app:latest.

    The container runtime looks for an image by this name when a pod has the short one.
    """
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not re.search(r"[.:]", first) and first != "localhost":
        name = f"docker.io/{name}"
    has_tag = ":" in name.rpartition("/")[2] or "@" in name
    return name if has_tag else f"{name}:latest"


def check_archive(archive: Path, platform: str) -> None:
    """Raise SettingError if pods could not use an image of the archive."""
    with opened_archive(archive, platform, str(archive)):
        pass


@contextlib.contextmanager
def opened_archive(archive: Path, platform: str, label: str) -> Iterator[tuple[Path, list[str]]]:
    """Give an archive as an uncompressed file, and the names of its images. Raise SettingError.

    The file is temporary if the archive is compressed or a pipe. An archive without a named image is an error, and so
    is an image that is not for `platform`. Messages call the archive `label`.
    """
    with tempfile.TemporaryDirectory(prefix="wisp-image-") as folder:
        with _reported(label):
            content = _uncompressed(archive, Path(folder))
            with tarfile.open(content, "r:") as tar:
                members = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
                images = _Reader(tar, members).images()
        if images is None:
            raise _not_an_archive(label)
        if not images:
            raise SettingError(f"the image in {label} has no name, so no pod could ask for it", hint=_SAVE)
        for name, platforms in images:
            if platform not in platforms:
                known = sorted(found for found in platforms if "unknown" not in found)
                problem = f"{name} in {label} is for {' and '.join(known) or 'no known platform'}"
                raise SettingError(f"{problem}, and the node is {platform}", hint=f"build or pull it for {platform}")
        yield content, [name for name, _ in images]


def _uncompressed(archive: Path, folder: Path) -> Path:
    """Return the archive as an uncompressed file that can be read more than once, if needed as a copy in `folder`."""
    if not archive.is_file() or archive.is_relative_to(_DEVICES):
        with archive.open("rb") as pipe:
            archive = _copied(pipe, folder / "archive")
    with archive.open("rb") as file:
        start = file.read(8)
    for magic, decompressor in _DECOMPRESSORS.items():
        if start.startswith(magic):
            with decompressor(archive) as content:
                return _copied(content, folder / "image.tar")
    return archive


def _copied(source: io.BufferedIOBase, target: Path) -> Path:
    with target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return target


@dataclass(frozen=True)
class _Reader:
    tar: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]

    def images(self) -> list[tuple[str, set[str]]] | None:
        """Return name and platforms of the images that have a name; None if this is not an image archive."""
        if "index.json" in self.members:  # recent versions of docker write both; containerd prefers this one, too
            return [image for image in map(self._indexed_image, self._document("index.json")["manifests"]) if image]
        if "manifest.json" in self.members:
            return [image for entry in self._document("manifest.json") for image in self._docker_images(entry)]
        return None

    def _indexed_image(self, descriptor: Any) -> tuple[str, set[str]] | None:
        annotations = descriptor.get("annotations") or {}
        name = annotations.get(_NAME) or annotations.get(_REFERENCE) or ""
        if not annotations.get(_NAME) and not re.search("[/:@]", name):
            return None  # only a tag
        return name, set(self._platforms(descriptor, _INDEX_DEPTH))

    def _docker_images(self, entry: Any) -> list[tuple[str, set[str]]]:
        config = self._document(entry["Config"])
        return [(tag, {_platform(config)}) for tag in entry.get("RepoTags") or ()]

    def _platforms(self, descriptor: Any, depth: int) -> Iterator[str]:
        """Give the platforms of an image, for an index those of all manifests in the archive."""
        path = _blob_path(descriptor["digest"])
        if path not in self.members or not depth:
            return
        document = self._document(path)
        if _INDEX.search(descriptor.get("mediaType", "")) or "manifests" in document:
            for manifest in document["manifests"]:
                yield from self._platforms(manifest, depth - 1)
            return
        config = _blob_path(document["config"]["digest"])
        if config in self.members:
            yield _platform(self._document(config))

    def _document(self, path: str) -> Any:
        member = self.members[path]
        file = self.tar.extractfile(member)
        if file is None or member.size > _DOCUMENT_LIMIT:
            raise ValueError(path)
        return json.load(file)


def _platform(config: Any) -> str:
    return f"{config.get('os', 'unknown')}/{config.get('architecture', 'unknown')}"


@contextlib.contextmanager
def _reported(label: str) -> Iterator[None]:
    """Raise SettingError in place of the errors of files, compression, tar and unexpected JSON."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # gzip and bz2 raise it for content of another format
            raise _not_an_archive(label) from error
        problem = f"cannot read {label} ({error.strerror})"
        raise SettingError(problem, hint="name a file that exists and that this user may read") from error
    except _MALFORMED as error:
        raise _not_an_archive(label) from error


def _not_an_archive(label: str) -> SettingError:
    hint = "give a complete archive of `docker save` or an OCI image layout, uncompressed or with gzip, bzip2 or xz"
    return SettingError(f"{label} is not an image archive", hint=hint)
