"""What the local Azure remembers: resources, issuers, keys and certificates, in one SQLite file.

Every method is one transaction; what it returned is on disk. Several processes may hold a `Store` on the same file.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wisp_local.cloud.assignments import Assignments
from wisp_local.cloud.authority import Authority
from wisp_local.cloud.database import Database
from wisp_local.cloud.directory import Application, Client, FederatedCredential
from wisp_local.cloud.fleet import Fleet
from wisp_local.cloud.inventory import Inventory
from wisp_local.cloud.issuer import Issuer
from wisp_local.cloud.keyring import Keyring
from wisp_local.cloud.principals import Principals
from wisp_local.cloud.signing import NewKey, SigningKey, new_rsa_key


@dataclass
class Change:
    """Whether a change came of it, once it has ended."""

    made: bool = False


class Store(Inventory):
    """The state file at `path`; `clock` gives Unix seconds, `new_key` signing keys. Closed by `with` or `close`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, new_key: NewKey = new_rsa_key) -> None:
        database = Database(Path(path))
        super().__init__(database, clock)
        self._keyring = Keyring(database, clock, new_key)
        self.authority = Authority(database, clock)
        self.fleet = Fleet(database, clock, self._keyring)
        self.assignments = Assignments(database, clock)
        self.principals = Principals(database, clock, lambda: self.tenant().id)

    @property
    def path(self) -> Path:
        """The state file."""
        return self._database.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; every method raises `StateError` afterwards."""
        self._database.close()

    def client(self, client_id: str) -> Client | None:
        """Return who has this client id: a managed identity or an application."""
        return self.identity_of_client(client_id) or self.principals.of_client(client_id)

    def credentials_of(self, client: Client) -> list[FederatedCredential]:
        """Return the client's federated credentials, by name."""
        if isinstance(client, Application):
            return self.principals.credentials(client)
        return self.federated_credentials(client)

    @contextmanager
    def changing(self) -> Generator[Change]:
        """Make all changes inside one: on disk when the block has ended, or none of them if it fails."""
        with self._database.transaction():
            change, before = Change(), self._database.changes
            yield change
            change.made = self._database.changes > before

    def put_issuer(self, name: str, issuer_id: str | None = None) -> Issuer:
        """Make the OIDC issuer of the cluster called `name`, with its first key, or return the one there is.

        Raises `ConflictError` where an id is given (a GUID in lower case) and it has another, or another has it.
        """
        return self._keyring.put_issuer(name, issuer_id)

    def issuer(self, issuer_id: str) -> Issuer | None:
        """Return the issuer with that id (a GUID in lower case)."""
        return self._keyring.issuer(issuer_id)

    def issuer_called(self, name: str) -> Issuer:
        """Return the issuer of the cluster called `name`; raises `NotFoundError`."""
        return self._keyring.issuer_called(name)

    def issuers(self) -> list[Issuer]:
        """Return every issuer, by name."""
        return self._keyring.issuers()

    def rotate_issuer(self, name: str) -> Issuer:
        """Give the issuer a new key, which signs from now on; the old ones stay published."""
        return self._keyring.rotate(name)

    def retire_issuer_keys(self, name: str) -> Issuer:
        """Stop publishing all of the issuer's keys but the one that signs."""
        return self._keyring.retire(name)

    def delete_issuer(self, name: str) -> None:
        """Delete the issuer and its keys; nothing happens when there is none."""
        self._keyring.delete(name)

    def token_keys(self) -> tuple[SigningKey, ...]:
        """Return the keys that sign access tokens, made on first use; all are published, the last one signs."""
        return self._keyring.token_keys()
