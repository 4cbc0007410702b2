"""Expose the sidecar to every fault and print the tables of docs/reference/faults.md; `--write` updates the page."""

import sys
import tempfile
from pathlib import Path

from tests.contract.faults.catalogue import FAULTS
from tests.contract.faults.experience import experiences
from tests.contract.faults.table import row, tables, write


def main(arguments: list[str]) -> None:
    """Run the command."""
    with tempfile.TemporaryDirectory() as folder:
        came = experiences(FAULTS, Path(folder))
        text = tables({fault.name: row(fault, came[fault.name]) for fault in FAULTS})
    if "--write" in arguments:
        write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
