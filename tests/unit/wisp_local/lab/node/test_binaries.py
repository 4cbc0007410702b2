"""Kubernetes and CoreDNS are built once, of what is pinned; whoever changes that gets another folder."""

import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from wisp.base.errors import ToolError
from wisp_local.lab.node.binaries import COREDNS_MODULE, KUBERNETES_MODULE, GoModule, binaries, cached_binaries
from wisp_local.lab.node.programs import KUBERNETES


def _go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `go` on PATH that does what `script` says."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_what_is_built() -> None:
    """Every program of the node and kubectl, saying the version that is pinned."""
    wanted = KUBERNETES_MODULE.command(Path("/made"), "v1.34.4")
    assert wanted[-len(KUBERNETES) :] == [f"k8s.io/kubernetes/cmd/{each}" for each in KUBERNETES]
    assert "-X k8s.io/component-base/version.gitVersion=v1.34.4" in " ".join(wanted)
    assert "-X k8s.io/component-base/version.gitMinor=34" in " ".join(wanted)


MODULES = pytest.mark.parametrize("module", [KUBERNETES_MODULE, COREDNS_MODULE], ids=lambda each: each.name)


@MODULES
def test_what_is_pinned_is_in_the_folders_name(tmp_path: Path, module: GoModule) -> None:
    """Another go.sum is another folder; the version can be read."""
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
    """Go asks the proxy that it is set up with."""
    for name in ("go.mod", "go.sum"):
        assert "://" not in (module.folder / name).read_text(encoding="utf-8")


def test_they_are_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is used, and no go is needed."""
    build = 'while [ "$1" != -o ]; do shift; done; touch "$2/program"; echo >> "$HOME/built"'
    _go(tmp_path, monkeypatch, f"[ $1 = list ] && exit; {build}")
    monkeypatch.setenv("HOME", str(tmp_path))
    made = binaries(tmp_path / "cache")
    assert binaries(tmp_path / "cache") == made == cached_binaries(tmp_path / "cache")
    for folder in (made.kubernetes, made.coredns):
        assert [each.name for each in folder.iterdir()] == ["program"]
    assert (tmp_path / "built").read_text(encoding="utf-8") == "\n\n"


def test_half_of_it_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What go complained of is in the error."""
    _go(tmp_path, monkeypatch, "echo no space left >&2; exit 1")
    with pytest.raises(ToolError, match="no space left"):
        binaries(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"no go on PATH: .*--kubeconfig"):
        binaries(tmp_path / "cache")
