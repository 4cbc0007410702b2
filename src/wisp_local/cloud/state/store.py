"""The store of a local cloud: its tenant, subscription, groups, identities, federated credentials and resources.

Every method is one transaction; what it returned is on disk. Several processes may hold a `Store` on the same file.
Names are found in any case and keep the one that they were created with.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from wisp_local.cloud import names
from wisp_local.cloud.entra.directory import (
    DEFAULT_AUDIENCE,
    Client,
    FederatedCredential,
    ManagedIdentity,
    ResourceGroup,
    Subscription,
    Tenant,
)
from wisp_local.cloud.errors import ConflictError, NotFoundError
from wisp_local.cloud.issuer import NewKey, new_rsa_key
from wisp_local.cloud.state.authority import Authority
from wisp_local.cloud.state.bindings import IdentityBindings
from wisp_local.cloud.state.clusters import Clusters
from wisp_local.cloud.state.database import Database, Row
from wisp_local.cloud.state.issuers import Issuers
from wisp_local.cloud.state.principals import Assignments, Principals


class Store:
    """The state file at `path`; `clock` gives Unix seconds, `new_key` signing keys. Closed by `with` or `close`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, new_key: NewKey = new_rsa_key) -> None:
        self._database = Database(Path(path))
        self.clock = clock
        self.issuers = Issuers(self._database, clock, new_key)
        self.authority = Authority(self._database, clock)
        self.clusters = Clusters(self._database, clock, self.issuers)
        self.bindings = IdentityBindings(self._database, clock)
        self.assignments = Assignments(self._database, clock)
        self.principals = Principals(self._database, clock, lambda: self.tenant().id)

    @property
    def path(self) -> Path:
        """The state file."""
        return self._database.path

    @property
    def changes(self) -> int:
        """How many rows this store has changed so far."""
        return self._database.changes

    def transaction(self) -> AbstractContextManager[None]:
        """Make all changes of a block one: on disk when it has ended, or none of them if it fails."""
        return self._database.transaction()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; every method raises `StateError` afterwards."""
        self._database.close()

    def tenant(self) -> Tenant:
        """Return the one tenant, created on first use."""
        return Tenant(*self._only_row("tenant"))

    def subscription(self) -> Subscription:
        """Return the one subscription, created on first use."""
        return Subscription(*self._only_row("subscription"))

    def set_tenant(self, tenant_id: str | None, display_name: str | None) -> None:
        """Give the tenant the id and name that are not None; raises `ConflictError` when it has another id already."""
        self._set("tenant", tenant_id, display_name)

    def set_subscription(self, subscription_id: str | None, display_name: str | None) -> None:
        """Give the subscription the id and name that are not None, raising as `set_tenant`."""
        self._set("subscription", subscription_id, display_name)

    def _only_row(self, table: str, new_id: str | None = None) -> Row:
        query = f"SELECT * FROM {table}"  # noqa: S608 -- one of two names
        row = self._database.row(query)
        if row is None:
            with self._database.transaction():
                row = self._database.row(query) or self._insert_only_row(table, new_id or _guid())
        return row

    def _insert_only_row(self, table: str, new_id: str) -> Row:
        name = "wisp local"
        row = (new_id, name, int(self.clock())) if table == "tenant" else (new_id, self.tenant().id, name)
        self._database.rows(f"INSERT INTO {table} VALUES (?, ?, ?)", *row)  # noqa: S608 -- one of two names
        return row

    def _set(self, table: str, new_id: str | None, display_name: str | None) -> None:
        with self._database.transaction():
            current_id = self._only_row(table, new_id)[0]
            if new_id not in (None, current_id):
                problem = f"the {table} of {self.path} is {current_id}, not {new_id}"
                raise ConflictError(problem, hint="ids never change: name another state file")
            if display_name is not None:
                statement = f"UPDATE {table} SET display_name = ? WHERE display_name != ?"  # noqa: S608 -- as above
                self._database.rows(statement, display_name, display_name)

    def put_resource_group(self, name: str, location: str, *, tags: Mapping[str, str] | None = None) -> ResourceGroup:
        """Create the group, or return the one of that name; raises `ConflictError` if that one is elsewhere.

        `tags` replace those it had; None leaves them.
        """
        names.check_name("resource group", name)
        names.check_name("location", location)
        subscription = self.subscription()
        with self._database.transaction():
            statement = "INSERT INTO resource_group VALUES (?, ?, ?, '{}') ON CONFLICT DO NOTHING"
            self._database.rows(statement, subscription.id, name, location)
            group = self.resource_group(name)
            _must_be_at(group.location, location, f"resource group {group.name}")
            if tags is not None:
                self._database.rows("UPDATE resource_group SET tags = ? WHERE name = ?", json.dumps(dict(tags)), name)
            return self.resource_group(name)

    def resource_group(self, name: str) -> ResourceGroup:
        """Return the group called `name`; raises `NotFoundError`."""
        row = self._database.row("SELECT * FROM resource_group WHERE name = ?", name)
        if row is None:
            raise NotFoundError(f"there is no resource group {name}", hint="create it first")
        return _group(row)

    def resource_groups(self) -> list[ResourceGroup]:
        """Return every group, by name."""
        return [_group(row) for row in self._database.rows("SELECT * FROM resource_group ORDER BY name")]

    def delete_resource_group(self, name: str) -> None:
        """Delete the group and all that is in it; nothing happens when it does not exist."""
        with self._database.transaction():
            self._database.rows("DELETE FROM resource_group WHERE name = ?", name)

    def put_identity(
        self,
        group_name: str,
        name: str,
        location: str,
        *,
        ids: tuple[str | None, str | None] = (None, None),
        tags: Mapping[str, str] | None = None,
    ) -> ManagedIdentity:
        """Create the identity, or return the one of that resource id, which keeps its client and principal ids.

        `ids` are those of a new one, random where None; raises `ConflictError` if one is another identity's.
        `tags` replace those it had; None leaves them.
        """
        names.check_name("identity", name)
        names.check_name("location", location)
        tenant = self.tenant()
        with self._database.transaction():
            group = self.resource_group(group_name)
            client_id, principal_id = (value or _guid() for value in ids)
            new = (group.subscription_id, group.name, name, location, client_id, principal_id, tenant.id)
            self._database.rows("INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, '{}') ON CONFLICT DO NOTHING", *new)
            try:
                identity = self.identity(group.name, name)
            except NotFoundError:  # it was not inserted, because of its ids
                problem = f"client id {client_id} or principal id {principal_id} is another identity's"
                raise ConflictError(problem, hint=f"give {name} ids of its own") from None
            _must_be_at(identity.location, location, f"identity {identity.name}")
            if tags is None:
                return identity
            statement = "UPDATE identity SET tags = ? WHERE client_id = ?"
            self._database.rows(statement, json.dumps(dict(tags)), identity.client_id)
            return self.identity(group.name, name)

    def identity(self, group_name: str, name: str) -> ManagedIdentity:
        """Return the identity of that group and name; raises `NotFoundError`."""
        row = self._database.row("SELECT * FROM identity WHERE resource_group = ? AND name = ?", group_name, name)
        if row is None:
            raise NotFoundError(f"there is no identity {name} in resource group {group_name}", hint="create it first")
        return _identity(row)

    def identity_of_client(self, client_id: str) -> ManagedIdentity | None:
        """Return the identity with this client id."""
        row = self._database.row("SELECT * FROM identity WHERE client_id = ?", client_id.lower())
        return None if row is None else _identity(row)

    def identities(self) -> list[ManagedIdentity]:
        """Return every identity, by group and name."""
        return [_identity(row) for row in self._database.rows("SELECT * FROM identity ORDER BY resource_group, name")]

    def delete_identity(self, identity: ManagedIdentity) -> None:
        """Delete the identity and its federated credentials; nothing happens when it does not exist."""
        with self._database.transaction():
            self._database.rows("DELETE FROM identity WHERE client_id = ?", identity.client_id)

    def client(self, client_id: str) -> Client | None:
        """Return the managed identity or application with this client id."""
        return self.identity_of_client(client_id) or self.principals.of_client(client_id)

    def put_federated_credential(
        self,
        client: Client,
        name: str,
        *,
        issuer: str,
        subject: str,
        audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,),
    ) -> FederatedCredential:
        """Create or replace the client's federated credential called `name`.

        Raises `RequestError` for what Azure does not allow and for the twenty-first, `ConflictError` when another has
        the same issuer and subject, `NotFoundError` when the client does not exist.
        """
        credential = FederatedCredential(name, issuer, subject, tuple(audiences))
        self.put_federated_credentials(client, [credential])
        return credential

    def put_federated_credentials(self, client: Client, credentials: Sequence[FederatedCredential]) -> None:
        """Create or replace all of `credentials`, or none, raising as for one; equal ones are left untouched."""
        for credential in credentials:
            names.check_credential(credential)
        with self._database.transaction():
            if self.client(client.client_id) is None:
                raise NotFoundError(f"there is no client {client.client_id}", hint="create it first")
            current = {credential.name.lower(): credential for credential in self.federated_credentials(client)}
            new = [credential for credential in credentials if current.get(credential.name.lower()) != credential]
            final = {**current, **{credential.name.lower(): credential for credential in new}}
            for credential in new:
                names.check_credential_fits(credential, [other for other in final.values() if other is not credential])
                self.delete_federated_credential(client, credential.name)
            now = self.clock()
            for credential in new:
                self._database.rows(
                    "INSERT INTO federated_credential VALUES (?, ?, ?, ?, ?, ?)",
                    client.client_id,
                    credential.name,
                    credential.issuer,
                    credential.subject,
                    credential.audiences[0],
                    now,
                )

    def federated_credentials(self, client: Client) -> list[FederatedCredential]:
        """Return the client's federated credentials, by name."""
        query = "SELECT name, issuer, subject, audience FROM federated_credential WHERE client_id = ? ORDER BY name"
        rows = self._database.rows(query, client.client_id)
        return [FederatedCredential(name, issuer, subject, (audience,)) for name, issuer, subject, audience in rows]

    def federated_since(self, client: Client, since: float) -> set[str]:
        """Return the names of the federated credentials that were created or replaced after `since` (Unix seconds)."""
        query = "SELECT name FROM federated_credential WHERE client_id = ? AND created > ?"
        return {name for (name,) in self._database.rows(query, client.client_id, since)}

    def delete_federated_credential(self, client: Client, name: str) -> None:
        """Delete the credential called `name`; nothing happens when it does not exist."""
        with self._database.transaction():
            self._database.rows(
                "DELETE FROM federated_credential WHERE client_id = ? AND name = ?", client.client_id, name
            )

    def put_resource(self, uri: str) -> None:
        """Register a resource of the tenant's own, for which tokens can be requested from then on."""
        names.check_resource(uri)
        with self._database.transaction():
            self._database.rows("INSERT INTO resource VALUES (?) ON CONFLICT DO NOTHING", uri)

    def resources(self) -> list[str]:
        """Return the tenant's own resources."""
        return [uri for (uri,) in self._database.rows("SELECT uri FROM resource ORDER BY uri")]


def _guid() -> str:
    return str(uuid.uuid4())


def _must_be_at(location: str, requested: str, what: str) -> None:
    if location.lower() != requested.lower():
        hint = f"use {location} or another name, not {requested}"
        raise ConflictError(f"{what} already exists in {location}", hint=hint)


def _group(row: Row) -> ResourceGroup:
    subscription_id, name, location, tags = row
    return ResourceGroup(subscription_id, name, location, json.loads(tags))


def _identity(row: Row) -> ManagedIdentity:
    return replace(ManagedIdentity(*row[:7]), tags=json.loads(row[7]))
