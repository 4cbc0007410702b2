"""The stand-in for a registry's image is made of Debian packages, once a month."""

import os
from pathlib import Path

import pytest

from wisp.base.errors import ToolError
from wisp_local.lab.node.standin import STANDIN, standin


def _mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_stand_in_is_built_once_a_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is announced when it is built, and only then."""
    _mmdebstrap(tmp_path, monkeypatch, 'for target; do :; done; tar -cf "$target" -T /dev/null')
    archive = standin(tmp_path / "cache", "amd64")
    assert f"Building the stand-in for {STANDIN.name}" in capsys.readouterr().err
    assert standin(tmp_path / "cache", "amd64") == archive
    assert capsys.readouterr().err == ""
    os.utime(archive, (0, 0))
    assert standin(tmp_path / "cache", "amd64") == archive
    assert "Building" in capsys.readouterr().err
    assert list((tmp_path / "cache").iterdir()) == [archive.parent]


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what mmdebstrap printed."""
    _mmdebstrap(tmp_path, monkeypatch, "echo E: no mirror; exit 1")
    with pytest.raises(ToolError, match="E: no mirror"):
        standin(tmp_path / "cache", "amd64")
    assert list((tmp_path / "cache").iterdir()) == []
