"""Kubernetes and CoreDNS are built once from pinned sources; other sources are another folder of the cache."""

import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from wisp.base.errors import ToolError
from wisp_local.lab.node.binaries import (
    COREDNS_MODULE,
    KUBERNETES_MODULE,
    PROGRAMS,
    GoModule,
    binaries,
    cached_binaries,
)


def _go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `go` on PATH that does what `script` says."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_every_program_is_built_with_the_pinned_version() -> None:
    """Those of the node and kubectl report it."""
    command = KUBERNETES_MODULE.command(Path("/made"), "v1.34.4")
    assert command[-len(PROGRAMS) :] == [f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS]
    assert "-X k8s.io/component-base/version.gitVersion=v1.34.4" in " ".join(command)
    assert "-X k8s.io/component-base/version.gitMinor=34" in " ".join(command)


MODULES = pytest.mark.parametrize("module", [KUBERNETES_MODULE, COREDNS_MODULE], ids=lambda module: module.name)


@MODULES
def test_cache_folder_depends_on_the_pinned_sources(tmp_path: Path, module: GoModule) -> None:
    """Another go.sum is another folder. The version is part of the name."""
    copy = replace(module, folder=tmp_path / "module")
    shutil.copytree(module.folder, copy.folder)
    before = copy.cached(tmp_path)
    assert before.name == module.cached(tmp_path).name
    assert re.match(r"v\d+\.\d+\.\d+$", module.version)
    assert before.name.startswith(f"{module.name.lower()}-{module.version}-")
    with (copy.folder / "go.sum").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert copy.cached(tmp_path) != before


@MODULES
def test_no_download_address_is_pinned(module: GoModule) -> None:
    """Go asks the proxy that the user has configured."""
    for name in ("go.mod", "go.sum"):
        assert "://" not in (module.folder / name).read_text(encoding="utf-8")


def test_binaries_are_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call finds them in the cache."""
    build = 'while [ "$1" != -o ]; do shift; done; touch "$2/program"; echo >> "$HOME/built"'
    _go(tmp_path, monkeypatch, f"[ $1 = list ] && exit; {build}")
    monkeypatch.setenv("HOME", str(tmp_path))
    made = binaries(tmp_path / "cache")
    assert binaries(tmp_path / "cache") == made == cached_binaries(tmp_path / "cache")
    for folder in (made.kubernetes, made.coredns):
        assert [path.name for path in folder.iterdir()] == ["program"]
    assert (tmp_path / "built").read_text(encoding="utf-8") == "\n\n"


def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what go printed."""
    _go(tmp_path, monkeypatch, "echo no space left >&2; exit 1")
    with pytest.raises(ToolError, match="no space left"):
        binaries(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_go_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the alternative."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"no go on PATH: .*--kubeconfig"):
        binaries(tmp_path / "cache")
