"""`writer.py STATE NAME KIND COUNT`: writes to a state file, and acknowledges each change once the store has.

Waits for the end of its standard input before it begins, so that several begin at once.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from wisp_local.cloud.errors import RequestError
from wisp_local.cloud.state.store import Store


def identities(store: Store, name: str) -> None:
    """Make an identity."""
    store.put_identity("RG", name, "eastus")


def credentials(store: Store, name: str) -> None:
    """Make a federated credential of the identity that all share."""
    store.put_federated_credential(store.identity("RG", "shared"), name, issuer="https://i/", subject=name)


def rotations(store: Store, name: str) -> None:
    """Give the issuer that all share another key."""
    assert name
    store.issuers.rotate("shared")


def main(state: Path, prefix: str, write: Callable[[Store, str], None], count: int) -> None:
    """Write `count` times and say after each how that went."""
    with Store(state) as store:
        sys.stdin.read()
        for number in range(count):
            name = f"{prefix}-{number:05}"
            try:
                write(store, name)
                said = "made"
            except RequestError:
                said = "refused"
            sys.stdout.write(f"{said} {name}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    KINDS = {kind.__name__: kind for kind in (identities, credentials, rotations)}
    main(Path(sys.argv[1]), sys.argv[2], KINDS[sys.argv[3]], int(sys.argv[4]))
