"""Builds Helm from its Go module, once: kept in `~/.cache/wisp/helm-VERSION-HASH/helm`, and made anew without that.

`go.mod` and `go.sum` here pin it and all that it is made of.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from image.base import cache_folder
from wisp.errors import ToolError

KUBERNETES = (1, 34)
"""What Helm takes the cluster to be when it has none to ask."""
_MODULE = Path(__file__).parent
_FILES = ("go.mod", "go.sum")
_TIMEOUT = 1800  # seconds; two minutes of one core, and a cold proxy
_SET = "helm.sh/helm/v3"


def helm(cache: Path | None = None) -> Path:
    """Return the program, built now if need be. Raise ToolError."""
    pinned = b"".join((_MODULE / name).read_bytes() for name in _FILES)
    found = re.search(rb"helm\.sh/helm/v3 (v\S+)", pinned)
    version = found[1].decode() if found else "unknown"
    command = _command(version)
    key = hashlib.sha256(pinned + repr(command).encode()).hexdigest()[:12]
    target = (cache or cache_folder()) / f"helm-{version}-{key}" / "helm"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".helm-", dir=target.parent) as draft:
            _build([*command, "-o", f"{draft}/helm", f"{_SET}/cmd/helm"])
            Path(draft, "helm").replace(target)
    return target


def _command(version: str) -> list[str]:
    said = {f"{_SET}/internal/version.version": version}
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        for name, number in zip(("Major", "Minor"), KUBERNETES, strict=True):
            said[f"{_SET}/{package}.k8sVersion{name}"] = str(number)
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in said.items())])
    return ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", flags]


def _build(command: list[str]) -> None:
    if shutil.which("go") is None:
        raise ToolError("Helm cannot be built: there is no go on PATH", remedy="install Go, as in CONTRIBUTING.md")
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            cwd=_MODULE,
            env={**os.environ, "GOFLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        problem = f"building Helm took longer than {_TIMEOUT} s"
        raise ToolError(problem, remedy="see whether the Go module proxy answers") from None
    if done.returncode != 0:
        raise ToolError(f"building Helm failed:\n{done.stderr[-2000:]}", remedy="see above")
