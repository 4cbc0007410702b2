"""Image archives of one layer, as docker and buildah write them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REFERENCE = "org.opencontainers.image.ref.name"
NAME = "io.containerd.image.name"
_TYPE = "application/vnd.oci.image"


def docker_archive(
    target: Path, names: Sequence[str] | None, architecture: str = "amd64", layer: bytes | None = None
) -> Path:
    """Write what `docker save` wrote before it also wrote OCI image layouts."""
    content = _empty_layer() if layer is None else layer
    config = _config(architecture, content)
    path = f"{_sha256(config)}.json"
    listing = [{"Config": path, "RepoTags": names, "Layers": ["layer.tar"]}]
    return _write(target, {path: config, "layer.tar": content, "manifest.json": json.dumps(listing).encode()})


def oci_archive(target: Path, annotations: Mapping[str, str], *architectures: str) -> Path:
    """Write an OCI image layout, with an index if there are several architectures."""
    layer = _empty_layer()
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', _blob(layer): layer}
    manifests = []
    for architecture in architectures or ("amd64",):
        config = _config(architecture, layer)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "config": _descriptor("config.v1+json", config),
                "layers": [_descriptor("layer.v1.tar", layer)],
            }
        ).encode()
        files |= {_blob(config): config, _blob(manifest): manifest}
        manifests.append(_descriptor("manifest.v1+json", manifest))
    if len(manifests) > 1:
        index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
        files[_blob(index)] = index
        manifests = [_descriptor("index.v1+json", index)]
    named = {**manifests[0], "annotations": dict(annotations)}
    return _write(target, {**files, "index.json": json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()})


def _config(architecture: str, layer: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]}
    document = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/pause"]}, "rootfs": rootfs}
    return json.dumps(document).encode()


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{_sha256(blob)}", "size": len(blob)}


def _blob(content: bytes) -> str:
    return f"blobs/sha256/{_sha256(content)}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _empty_layer() -> bytes:
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    return layer.getvalue()


def _write(target: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(target, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target
