"""Locks, Containerfile and ignore file of the image agree with each other and with the test environment."""

import re
import tomllib
from pathlib import Path

from image.base import SUITE
from image.build import SOURCE
from image.wheels import PYTHON

LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def _locked(name: str) -> dict[str, str]:
    return dict(LOCKED.findall((SOURCE / "requirements" / name).read_text()))


def test_image_has_the_versions_that_the_tests_use() -> None:
    """The sidecar's own lock has them, too."""
    assert _locked("proxy.txt").items() <= _locked("image.txt").items() <= _locked("dev.txt").items()


def test_lock_has_the_dependencies_of_sidecar_and_webhook() -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    dependencies = project["dependencies"] + project["optional-dependencies"]["webhook"]
    names = {re.split("[^a-z0-9.-]", dependency)[0].replace(".", "-") for dependency in dependencies}
    assert names <= set(_locked("image.txt"))


def test_wheels_are_for_the_python_of_both_bases() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (SOURCE / "Containerfile").read_text(), re.MULTILINE)
    assert base.rpartition(":")[2] == f"{PYTHON}-slim-{SUITE}"


def test_build_context_has_only_the_files_that_are_copied() -> None:
    not_ignored = [line for line in (SOURCE / ".containerignore").read_text().split() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--)(\S+)", (SOURCE / "Containerfile").read_text(), re.MULTILINE)
    assert sorted(f"!{Path(path)}" for path in copied) == sorted(not_ignored)
