"""The image is built in numbered steps; the base is cached, and a failed build leaves no files."""

import io
import itertools
from pathlib import Path

import pytest

from image.base import debian_base
from image.build import build
from wisp.base.errors import ToolError
from wisp_local.sandbox.builds import Builder
from wisp_local.sandbox.progress import Progress


def _program(tmp_path: Path, name: str, script: str) -> None:
    program = tmp_path / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def _builder() -> tuple[Builder, io.StringIO]:
    stream = io.StringIO()
    seconds = itertools.count(step=20)
    return Builder(Progress(stream, lambda: float(next(seconds)))), stream


def test_base_is_built_by_two_tools_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress names the tool that is running."""
    _program(tmp_path, "mmdebstrap", "echo installing packages")
    _program(tmp_path, "buildah", 'while [ "$1" != --tag ]; do shift; done; touch "${2#oci-archive:}"; echo COMMIT')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    builder, stream = _builder()
    base = debian_base(tmp_path / "cache", builder)
    assert Path(base.removeprefix("oci-archive:")).is_file()
    progress = stream.getvalue()
    assert progress.startswith("Building the base of the image ...\n")
    assert "the base of the image: mmdebstrap, 20 s: installing packages\n" in progress
    assert ": COMMIT\n" in progress
    assert debian_base(tmp_path / "cache", builder) == base
    assert stream.getvalue() == progress


def test_failing_buildah_leaves_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft is removed, and so is buildah's storage."""
    (tmp_path / "tmp").mkdir()
    _program(tmp_path, "mmdebstrap", ":")
    _program(tmp_path, "buildah", 'while [ "$1" != --root ]; do shift; done; mkdir "$2"; echo no space left; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(ToolError, match=r"building the base of the image failed[^\n]*\nno space left"):
        debian_base(tmp_path / "cache", _builder()[0])
    assert list((tmp_path / "cache").iterdir()) == list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.system
def test_failing_step_leaves_no_image_and_no_wheels(tmp_path: Path) -> None:
    """The steps are numbered up to the one that failed: this source has no requirements."""
    builder, stream = _builder()
    with pytest.raises(ToolError, match="building the image failed"):
        build("wisp:test", tmp_path / "dist" / "wisp.tar", "debian:12", tmp_path, builder)
    progress = stream.getvalue().splitlines()
    assert [line[:3] for line in progress if line[0].isdigit()] == ["1/4", "2/4"]
    assert "1/4 base: debian:12" in progress
    assert f"  output      {tmp_path}/dist/wisp.tar, and its bill of materials next to it" in progress
    assert list((tmp_path / "dist").iterdir()) == list((tmp_path / "build").iterdir()) == []
