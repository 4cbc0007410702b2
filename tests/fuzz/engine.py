"""`python -m tests.fuzz.engine TARGET FLAGS…`: one target under atheris, which runs libFuzzer with these flags.

libFuzzer ends the process itself; it is a process of its own for that reason, and `__main__` reads what it says.
"""

import os
import sys
from importlib import import_module


def main(name: str, flags: list[str]) -> None:
    """Instrument wisp, load the target, and fuzz it until the flags end it."""
    atheris = import_module("atheris")  # by name: it has no types, and is there for one platform only
    with atheris.instrument_imports(include=["wisp"]):
        catalogue = import_module("tests.fuzz.catalogue")
    command = os.environ.get("FUZZ_COMMAND", "fuzz")  # which libFuzzer runs again in order to merge
    atheris.Setup([command, *flags], catalogue.EVERY[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
