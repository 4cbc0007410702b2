"""What the image is built from agrees with itself and with what the tests run."""

import re
import tomllib
from pathlib import Path

from image.base import SUITE
from image.build import SOURCE
from image.wheels import PYTHON

LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def _locked(name: str) -> dict[str, str]:
    return dict(LOCKED.findall((SOURCE / "requirements" / name).read_text()))


def test_locks_agree() -> None:
    """What is in the image is what the tests ran with, in the same version; the sidecar's own lock says the same."""
    assert _locked("proxy.txt").items() <= _locked("image.txt").items() <= _locked("dev.txt").items()


def test_what_the_webhook_needs() -> None:
    """The lock has what the sidecar and the extra `webhook` ask for."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["webhook"]
    assert {re.split("[^a-z0-9-]", each)[0] for each in asked} <= set(_locked("image.txt"))


def test_one_python() -> None:
    """Wheels are fetched for the Python that both bases have."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (SOURCE / "Containerfile").read_text(), re.MULTILINE)
    assert base.rpartition(":")[2] == f"{PYTHON}-slim-{SUITE}"


def test_context() -> None:
    """Nothing of the working tree comes into the build but what the Containerfile copies."""
    let_by = [line for line in (SOURCE / ".containerignore").read_text().split() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--)(\S+)", (SOURCE / "Containerfile").read_text(), re.MULTILINE)
    assert sorted(f"!{Path(path)}" for path in copied) == sorted(let_by)
