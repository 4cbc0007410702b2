"""Reads which images an archive holds: an OCI image layout, or what `docker save` writes, compressed or not.

containerd's client imports archives that it cannot use without an error: images without a name, and images of another
architecture. So the archive is read first.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wisp.base.errors import SettingError

_NAME = "io.containerd.image.name"
_REFERENCE = "org.opencontainers.image.ref.name"
_INDEX = re.compile(r"(image\.index|manifest\.list)")
_DOCUMENT_LIMIT = 8 * 1024 * 1024  # bytes; manifests and configurations are a few kilobytes
_DEVICES = Path("/dev")
"""What is here is not the same file for another process: /dev/stdin, /dev/fd/63."""
_DEPTH = 3  # indexes within indexes
_OPENERS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""What opens a compressed archive, by its first bytes."""
_SAVE = "save it with its name: `docker save -o FILE NAME:TAG`, or `buildah push NAME:TAG oci-archive:FILE:NAME:TAG`"


@dataclass(frozen=True)
class Archived:
    """An image of an archive: its `name` as the archive has it, and its `platforms`, such as linux/amd64."""

    name: str
    platforms: frozenset[str]

    @property
    def full_name(self) -> str:
        """The name with registry and tag, by which the container runtime looks for what a pod calls by a short name."""
        return full_name(self.name)


def full_name(name: str) -> str:
    """Return the name with registry and tag, as container tools complete it: app is docker.io/library/app:latest."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not re.search(r"[.:]", first) and first != "localhost":
        name = f"docker.io/{name}"
    has_tag = ":" in name.rpartition("/")[2] or "@" in name
    return name if has_tag else f"{name}:latest"


@contextlib.contextmanager
def plain(archive: Path, shown: str) -> Iterator[Path]:
    """Give the archive as a plain file, a temporary one if it is compressed or a pipe. Raise SettingError.

    `shown` is what messages call the archive.
    """
    with tempfile.TemporaryDirectory(prefix="wisp-image-") as folder:
        found = archive
        with _reported(shown):
            if not found.is_file() or found.is_relative_to(_DEVICES):
                with found.open("rb") as pipe:
                    found = _copied(pipe, Path(folder) / "archive")
            with found.open("rb") as file:
                start = file.read(8)
            opener = next((each for magic, each in _OPENERS.items() if start.startswith(magic)), None)
            if opener is not None:
                with opener(found) as content:
                    found = _copied(content, Path(folder) / "image.tar")
        yield found


def check_archive(archive: Path, platform: str) -> None:
    """Raise SettingError if pods could not use an image of the archive."""
    with plain(archive, str(archive)) as content:
        read_archive(content, platform, str(archive))


def _copied(source: io.BufferedIOBase, target: Path) -> Path:
    with target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return target


def read_archive(archive: Path, platform: str, shown: str) -> list[Archived]:
    """Return the images of an uncompressed archive that have a name. Raise SettingError.

    An archive without such an image is an error, and so is an image that is not for `platform`. `shown` is what
    messages call the archive.
    """
    with _reported(shown), tarfile.open(archive, "r:") as tar:
        members = {each.name.removeprefix("./"): each for each in tar.getmembers() if each.isfile()}
        images = _Reader(tar, members).images()
    if images is None:
        raise _no_archive(shown)
    if not images:
        raise SettingError(f"the image in {shown} has no name, so no pod could ask for it", hint=_SAVE)
    for each in images:
        if platform not in each.platforms:
            known = sorted(found for found in each.platforms if "unknown" not in found)
            problem = f"{each.name} in {shown} is for {' and '.join(known) or 'no known platform'}"
            raise SettingError(f"{problem}, and the node is {platform}", hint=f"build or pull it for {platform}")
    return images


@dataclass(frozen=True)
class _Reader:
    tar: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]

    def images(self) -> list[Archived] | None:
        """Return the images that have a name; None if this is not an image archive."""
        if "index.json" in self.members:  # recent versions of docker write both; containerd takes this one, too
            return [each for each in map(self._of_index, self._document("index.json")["manifests"]) if each]
        if "manifest.json" in self.members:
            return [image for each in self._document("manifest.json") for image in self._of_docker(each)]
        return None

    def _of_index(self, descriptor: Any) -> Archived | None:
        annotations = descriptor.get("annotations") or {}
        name = annotations.get(_NAME) or annotations.get(_REFERENCE) or ""
        if not annotations.get(_NAME) and not re.search("[/:@]", name):
            return None  # a tag alone
        return Archived(name, frozenset(self._platforms(descriptor, _DEPTH)))

    def _of_docker(self, entry: Any) -> Iterator[Archived]:
        config = self._document(entry["Config"])
        for each in entry.get("RepoTags") or ():
            yield Archived(each, frozenset({_platform(config)}))

    def _platforms(self, descriptor: Any, depth: int) -> Iterator[str]:
        """Give the platforms of an image, those of an index being all whose manifests are in the archive."""
        path = _blob(descriptor)
        if path not in self.members or not depth:
            return
        document = self._document(path)
        if _INDEX.search(descriptor.get("mediaType", "")) or "manifests" in document:
            for each in document["manifests"]:
                yield from self._platforms(each, depth - 1)
        elif _blob(document["config"]) in self.members:
            yield _platform(self._document(_blob(document["config"])))

    def _document(self, path: str) -> Any:
        member = self.members[path]
        file = self.tar.extractfile(member)
        if file is None or member.size > _DOCUMENT_LIMIT:
            raise ValueError(path)
        return json.load(file)


def _blob(descriptor: Any) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _platform(config: Any) -> str:
    return f"{config.get('os', 'unknown')}/{config.get('architecture', 'unknown')}"


@contextlib.contextmanager
def _reported(shown: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise _no_archive(shown) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # a document of another shape
        raise _no_archive(shown) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 raise it for content that is not theirs
            raise _no_archive(shown) from error
        problem = f"cannot read {shown} ({error.strerror})"
        raise SettingError(problem, hint="name a file that exists and that this user may read") from error


def _no_archive(shown: str) -> SettingError:
    hint = "give a complete archive of `docker save` or an OCI image layout, uncompressed or with gzip, bzip2 or xz"
    return SettingError(f"{shown} is not an image archive", hint=hint)
