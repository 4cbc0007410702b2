"""Builds the image: `python -m image --name NAME --base BASE --output FILE`, or `make image`."""

import argparse
import sys
from pathlib import Path

from image.build import DEBIAN, SOURCE, build
from image.sbom import path_for
from wisp import __version__
from wisp_local.sandbox.signals import run_program


def main() -> int:
    """Build it; return the exit status. Raise WispError."""
    parser = argparse.ArgumentParser(prog="python -m image", description="Build wisp's image as an OCI archive.")
    parser.add_argument("--name", default=f"wisp:{__version__}", help="the image's name and tag (%(default)s)")
    parser.add_argument("--base", default=DEBIAN, help="what a FROM takes; %(default)s: made of Debian's packages")
    parser.add_argument("--output", type=Path, default=SOURCE / "dist/wisp-image.tar", help="the OCI archive")
    wanted = parser.parse_args()
    built = build(wanted.name, wanted.output, wanted.base)
    sys.stdout.write(f"{wanted.name}: {built} ({built.stat().st_size / 1e6:.0f} MB), {path_for(built)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
