"""Image archives without a tool: what is in them is what they say, byte by byte."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from wisp_local.lab.node.archive import Image, write_image, write_layer


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
        blobs = [each for each in image.getmembers() if each.name.startswith("blobs/")]
        assert len(blobs) == 3
        for each in blobs:
            file = image.extractfile(each)
            assert file is not None
            assert each.name == f"blobs/sha256/{hashlib.sha256(file.read()).hexdigest()}"


def test_the_way_from_the_index_to_the_program(tmp_path: Path) -> None:
    """Index, manifest, configuration and layer find each other; the name is what a runtime is asked for."""
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
