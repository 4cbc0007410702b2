"""Builds Kubernetes from its Go module, once, and caches it in `~/.cache/wisp/kubernetes-VERSION-HASH/`.

`kubernetes/go.mod` and `go.sum` pin Kubernetes and its dependencies. A build takes two cores nine minutes.
"""

import hashlib
import re
from pathlib import Path

from wisp.lab.building import Builder, Product, cache_folder
from wisp.lab.cluster.programs import KUBERNETES
from wisp.lab.gobuild import go_build

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


def binaries(cache: Path | None = None, module: Path = MODULE, builder: Builder | None = None) -> Path:
    """Return the folder with the programs of Kubernetes and `pause`, built now if it is not cached. Raise ToolError."""
    cache, builder = cache or cache_folder(), builder or Builder()
    release = version(module)
    name = f"Kubernetes {release}"

    def make(draft: Path) -> Path:
        made = draft / "made"
        made.mkdir()
        go_build(builder, name, command(made, release), folder=module, environment=_ENVIRONMENT)
        return made

    product = Product(
        name=name,
        reason="clusters on this machine run its programs, which are compiled from source",
        usual_duration="about 9 minutes on 2 idle cores, up to 18 minutes on a busy machine",
        path=folder(cache, module).name,
        tools={"go": "install Go 1.25 or later, or use a cluster of your own (--kubeconfig)"},
    )
    return builder.obtain(product, cache, make)


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
