"""Builds Helm from its Go module, once: kept in `~/.cache/wisp/helm-VERSION-HASH/helm`, and made anew without that.

`go.mod` and `go.sum` here pin it and all that it is made of.
"""

import hashlib
import re
import tempfile
from pathlib import Path

from wisp.lab.building import build, cache_folder, must_have

KUBERNETES = (1, 34)
"""What Helm takes the cluster to be when it has none to ask."""
_MODULE = Path(__file__).parent
_FILES = ("go.mod", "go.sum")
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
            must_have("go", "Helm", "install Go, as in CONTRIBUTING.md")
            output = ("-o", f"{draft}/helm", f"{_SET}/cmd/helm")
            build("Helm", ["nice", "-n", "10", *command, *output], folder=_MODULE, environment={"GOFLAGS": ""})
            Path(draft, "helm").replace(target)
    return target


def _command(version: str) -> list[str]:
    said = {f"{_SET}/internal/version.version": version}
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        for name, number in zip(("Major", "Minor"), KUBERNETES, strict=True):
            said[f"{_SET}/{package}.k8sVersion{name}"] = str(number)
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in said.items())])
    return ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", flags]
