"""Builds what the tests in a cluster need, and caches it: `python -m tests.cluster.build`.

That is Kubernetes, Helm, the base of wisp's image, the replacement of `ubuntu:20.04`, the Azure SDK, and the programs
of the SDK matrix that use the token proxy. The tests build what is missing themselves, but pytest hides progress.
"""

import sys

from image.base import debian_base
from tests.cluster import sdk
from tests.cluster.cluster import ubuntu_image
from tests.helm.build import helm
from tests.interop import build as programs
from tests.interop.cells import token_proxy_rows
from wisp_local.lab.node.binaries import binaries
from wisp_local.sandbox.signals import run_program


def main() -> int:
    """Build what is not cached and print the paths; return the exit status. Raise ToolError."""
    for build in (binaries, helm, ubuntu_image, debian_base, sdk.packages):
        sys.stdout.write(f"{build()}\n")
    return programs.main([row.client for row in token_proxy_rows()])


if __name__ == "__main__":
    sys.exit(run_program(main))
