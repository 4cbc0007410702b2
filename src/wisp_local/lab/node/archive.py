"""An image archive of one layer, as containers' runtimes import it (OCI image-spec: image layout); no tool needed."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TYPE = "application/vnd.oci.image"


@dataclass(frozen=True)
class Image:
    """An image called `name`, which runs `command` unless told otherwise; `layer` is an uncompressed tar archive."""

    name: str
    layer: Path
    command: tuple[str, ...]


def write_layer(target: Path, programs: Iterable[Path]) -> None:
    """Write a tar archive that holds `programs` alone, in its root, for everyone to run."""
    with tarfile.open(target, "w") as tar:
        for each in programs:
            info = tarfile.TarInfo(each.name)
            info.size, info.mode = each.stat().st_size, 0o755
            with each.open("rb") as file:
                tar.addfile(info, file)


def write_image(target: Path, image: Image, architecture: str) -> None:
    """Write the archive of `image` for `architecture` (as Go calls it: amd64, arm64)."""
    layer = {"mediaType": f"{_TYPE}.layer.v1.tar", "digest": _digest(image.layer), "size": image.layer.stat().st_size}
    config = _encoded(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(image.command), "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
    )
    manifest = _encoded(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": _described("config.v1+json", config),
            "layers": [layer],
        }
    )
    named = {**_described("manifest.v1+json", manifest), "annotations": {"io.containerd.image.name": image.name}}
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", _encoded({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _encoded({"schemaVersion": 2, "manifests": [named]}))
        for blob in (config, manifest):
            _add(tar, _place(_sha256(blob)), blob)
        tar.add(image.layer, _place(str(layer["digest"])))


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"{_TYPE}.{kind}", "digest": _sha256(blob), "size": len(blob)}


def _encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def _sha256(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, path: str, blob: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size = len(blob)
    tar.addfile(info, io.BytesIO(blob))
