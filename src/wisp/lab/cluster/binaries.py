"""Builds Kubernetes from its Go module, once: kept in `~/.cache/wisp/kubernetes-VERSION-HASH/`, made anew without that.

`kubernetes/go.mod` and `go.sum` pin it and all that it is made of. It takes two cores nine minutes.
"""

import hashlib
import re
import tempfile
from pathlib import Path

from wisp.lab.building import build, cache_folder, must_have
from wisp.lab.cluster.programs import KUBERNETES

MODULE = Path(__file__).parent / "kubernetes"
PAUSE_PROGRAM = "pause"
_FILES = ("go.mod", "go.sum", "pause.go")
_ENVIRONMENT = {"GOFLAGS": "", "CGO_ENABLED": "0", "GOWORK": "off"}
_SET = "k8s.io/component-base/version"


def version(module: Path = MODULE) -> str:
    """Return the version that is pinned, such as v1.34.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None  # noqa: S101 -- a fault of ours, not of the input
    return found[1]


def binaries(cache: Path | None = None, module: Path = MODULE) -> Path:
    """Return the folder of Kubernetes' programs and of `pause`, built now if need be. Raise ToolError."""
    target = folder(cache or cache_folder(), module)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kubernetes-", dir=target.parent) as draft:
            made = Path(draft) / "made"
            made.mkdir()
            must_have("go", "Kubernetes", "install Go 1.25 or later, or use a cluster of your own (--kubeconfig)")
            build("Kubernetes", command(made, version(module)), folder=module, environment=_ENVIRONMENT)
            made.rename(target)
    return target


def folder(cache: Path, module: Path = MODULE) -> Path:
    """Return where the programs are once they are built."""
    pinned = b"".join((module / name).read_bytes() for name in _FILES) + repr(command(Path(), "")).encode()
    return cache / f"kubernetes-{version(module)}-{hashlib.sha256(pinned).hexdigest()[:12]}"


def command(made: Path, release: str) -> list[str]:
    """Write the command that builds them into the folder `made`, saying that they are `release`."""
    major, minor, *_ = [*release.removeprefix("v").split("."), ""]
    said = {"gitVersion": release, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {_SET}.{name}={value}" for name, value in said.items())])
    packages = [f"k8s.io/kubernetes/cmd/{each}" for each in KUBERNETES]
    return ["nice", "-n", "10", "go", "build", "-mod=readonly", "-ldflags", flags, "-o", f"{made}/", ".", *packages]
