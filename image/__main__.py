"""Builds the image: `python -m image --name NAME --base BASE --output FILE`, or `make image`."""

import argparse
import sys
from pathlib import Path

from image.build import DEBIAN, SOURCE, build
from image.sbom import path_for
from wisp import __version__
from wisp_local.sandbox.signals import run_program


def main() -> int:
    """Build the image; return the exit status. Raise WispError."""
    parser = argparse.ArgumentParser(prog="python -m image", description="Build wisp's image as an OCI archive.")
    parser.add_argument("--name", default=f"wisp:{__version__}", help="name and tag of the image (%(default)s)")
    parser.add_argument(
        "--base", default=DEBIAN, help="base image, as in FROM; %(default)s is built from Debian packages"
    )
    parser.add_argument("--output", type=Path, default=SOURCE / "dist/wisp-image.tar", help="path of the OCI archive")
    arguments = parser.parse_args()
    built = build(arguments.name, arguments.output, arguments.base)
    sys.stdout.write(f"{arguments.name}: {built} ({built.stat().st_size / 1e6:.0f} MB), {path_for(built)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
