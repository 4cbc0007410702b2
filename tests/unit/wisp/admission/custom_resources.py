"""Manifests of custom resources, and the output of `wisp inject` for them: the golden files in custom/injected.

`python -m tests.unit.wisp.admission.custom_resources --write` writes the golden files again.
"""

import sys
from pathlib import Path

from tests.unit.wisp.cli.command import TENANT, CommandResult, run
from wisp.cli import wisp

MANIFESTS = Path(__file__).parent / "custom"
GOLDEN = MANIFESTS / "injected"
NAMES = sorted(path.name for path in MANIFESTS.glob("*.yaml") if path.name != "accounts.yaml")


def injected(name: str) -> CommandResult:
    """Run `wisp inject` on a manifest."""
    options = ("--server-version", "1.34", "--proxy-image", "wisp:test")
    accounts = ("--service-account", str(MANIFESTS / "accounts.yaml"))
    return run(wisp, "inject", "-f", str(MANIFESTS / name), *accounts, *options, *TENANT)


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    for name in NAMES:
        (GOLDEN / name).write_text(injected(name).stdout, encoding="utf-8")
