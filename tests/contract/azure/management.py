"""The management SDKs for Python, in a venv of their own: how it is built, and how its one program is run."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.build import build, cache_folder
from tests.interop.recipes import AZ, Recipe, Sdk

_FOLDER = Path(__file__).parent / "clients" / "sdk"
_TIMEOUT = 300  # seconds; it takes about ten
MANAGEMENT = Recipe(
    name="azure-mgmt",
    folder=_FOLDER,
    manifest="requirements.in",
    sdks={"msi": Sdk("azure-mgmt-msi", "ManagedServiceIdentityClient")},
    tools={},
    commands=AZ.commands,
    keep=("venv",),
    start=("{here}/venv/bin/python", "{folder}/client.py"),
    script="client.py",
)


def run_sdks(options: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Run the program with `options` on standard input, because they hold a secret; return its results."""
    built = build(MANAGEMENT, cache_folder())
    done = subprocess.run(
        built.command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        input=json.dumps(dict(options)),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
