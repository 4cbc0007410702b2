"""Builds Helm from its Go module: `python -m tests.helm.build`.

It is cached in `~/.cache/wisp/helm-VERSION-HASH/`. `go.mod` and `go.sum` here pin Helm and its dependencies.
"""

import hashlib
import re
import sys
from pathlib import Path

from wisp_local.sandbox.builds import Builder, Product, go_build
from wisp_local.sandbox.folders import cache_folder
from wisp_local.sandbox.signals import run_program

KUBERNETES = (1, 34)
"""The Kubernetes version that Helm assumes without a cluster."""
_MODULE = Path(__file__).parent
_FILES = ("go.mod", "go.sum")
_SET = "helm.sh/helm/v3"


def helm(cache: Path | None = None, builder: Builder | None = None) -> Path:
    """Return the program, built now if it is not cached. Raise ToolError."""
    pinned = b"".join((_MODULE / name).read_bytes() for name in _FILES)
    found = re.search(rb"helm\.sh/helm/v3 (v\S+)", pinned)
    version = found[1].decode() if found else "unknown"
    command = _command(version)
    key = hashlib.sha256(pinned + repr(command).encode()).hexdigest()[:12]
    builder = builder or Builder()
    name = f"Helm {version}"

    def make(draft: Path) -> Path:
        output = ("-o", f"{draft}/helm", f"{_SET}/cmd/helm")
        go_build(builder, name, ["nice", "-n", "10", *command, *output], folder=_MODULE, environment={"GOFLAGS": ""})
        return draft / "helm"

    product = Product(
        name=name,
        reason="the tests of the chart and of clusters render and install the chart with it",
        usual_duration="about 2 to 4 minutes on 2 cores",
        path=f"helm-{version}-{key}/helm",
        tools={"go": "install Go, as in CONTRIBUTING.md"},
    )
    return builder.obtain(product, cache or cache_folder(), make)


def _command(version: str) -> list[str]:
    variables = {f"{_SET}/internal/version.version": version}
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        for name, number in zip(("Major", "Minor"), KUBERNETES, strict=True):
            variables[f"{_SET}/{package}.k8sVersion{name}"] = str(number)
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables.items())])
    return ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", flags]


def main() -> int:
    """Build Helm if it is not cached, and print its path; return the exit status. Raise ToolError."""
    sys.stdout.write(f"{helm()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
