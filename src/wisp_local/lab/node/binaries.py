"""Builds Kubernetes and CoreDNS from their Go modules, and caches them in `~/.cache/wisp/NAME-VERSION-HASH/`.

The files go.mod and go.sum in `kubernetes/` and `coredns/` pin the versions and their dependencies. On two cores,
Kubernetes takes nine minutes and CoreDNS one.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from wisp_local.lab.node.configuration import Binaries
from wisp_local.sandbox.builds import Builder, Product, go_build
from wisp_local.sandbox.folders import cache_folder

PAUSE_PROGRAM = "pause"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
_FOLDER = Path(__file__).parent
_ENVIRONMENT = {"GOFLAGS": "", "CGO_ENABLED": "0", "GOWORK": "off"}
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class GoModule:
    """Programs that are built from the Go module in `folder`, which requires the module `path` in a pinned version.

    Messages call them `name`. `packages` are built, and the content of `files` decides whether the cached programs are
    current. `stamped`: the linker writes the version into the programs (-X), as Kubernetes expects.
    """

    name: str
    path: str
    folder: Path
    packages: tuple[str, ...]
    files: tuple[str, ...]
    usual_duration: str
    stamped: bool = False

    @property
    def version(self) -> str:
        """The pinned version, such as v1.34.4."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^(?:require)?\s*{re.escape(self.path)} (v\S+)", text, re.MULTILINE)
        assert found is not None  # noqa: S101 -- go.mod is ours
        return found[1]

    def command(self, output: Path, release: str) -> list[str]:
        """Return the command that builds the programs of version `release` into the folder `output`."""
        major, minor, *_ = [*release.removeprefix("v").split("."), ""]
        stamps = {"gitVersion": release, "gitMajor": major, "gitMinor": minor} if self.stamped else {}
        flags = " ".join(["-s", "-w", *(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in stamps.items())])
        options = ["-mod=readonly", "-ldflags", flags, "-o", f"{output}/"]
        return ["nice", "-n", "10", "go", "build", *options, *self.packages]

    def cached(self, cache: Path) -> Path:
        """Return the folder in which the programs are once they are built."""
        pinned = b"".join((self.folder / name).read_bytes() for name in self.files)
        key = hashlib.sha256(pinned + repr(self.command(Path(), "")).encode()).hexdigest()[:12]
        return cache / f"{self.name.lower()}-{self.version}-{key}"

    def build(self, cache: Path | None = None, builder: Builder | None = None) -> Path:
        """Return the folder with the programs, built now if it is not cached. Raise ToolError."""
        cache, builder = cache or cache_folder(), builder or Builder()
        name = f"{self.name} {self.version}"

        def make(draft: Path) -> Path:
            output = draft / "made"
            output.mkdir()
            command = self.command(output, self.version)
            go_build(builder, name, command, folder=self.folder, environment=_ENVIRONMENT)
            return output

        product = Product(
            name=name,
            reason="clusters on this machine run its programs, which are compiled from source",
            usual_duration=self.usual_duration,
            path=self.cached(cache).name,
            tools={"go": "install Go 1.25 or later, or use a cluster of your own (--kubeconfig)"},
        )
        return builder.obtain(product, cache, make)


KUBERNETES_MODULE = GoModule(
    name="Kubernetes",
    path="k8s.io/kubernetes",
    folder=_FOLDER / "kubernetes",
    packages=(".", *(f"k8s.io/kubernetes/cmd/{program}" for program in PROGRAMS)),
    files=("go.mod", "go.sum", "pause.go"),
    usual_duration="about 9 minutes on 2 idle cores, up to 18 minutes on a busy machine",
    stamped=True,
)
"""All programs of a node and kubectl, and the program of the image that holds a pod's namespaces."""
COREDNS_MODULE = GoModule(
    name="CoreDNS",
    path="github.com/coredns/coredns",
    folder=_FOLDER / "coredns",
    packages=(".",),
    files=("go.mod", "go.sum", "main.go"),
    usual_duration="about 1 minute on 2 idle cores, up to 3 minutes on a busy machine",
)
"""The cluster DNS."""


def binaries(cache: Path | None = None, builder: Builder | None = None) -> Binaries:
    """Return the programs of a node, built now if they are not cached. Raise ToolError."""
    return Binaries(KUBERNETES_MODULE.build(cache, builder), COREDNS_MODULE.build(cache, builder))


def cached_binaries(cache: Path) -> Binaries:
    """Return the folders in which the programs of a node are once they are built."""
    return Binaries(KUBERNETES_MODULE.cached(cache), COREDNS_MODULE.cached(cache))
