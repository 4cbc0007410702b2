"""The resources of the local Azure: tenant, subscription, groups, identities and their federated credentials.

Every method is one transaction; what it returned is on disk. Names are found in any case and keep the one they had.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from wisp_local.cloud import names
from wisp_local.cloud.database import Database, Row
from wisp_local.cloud.directory import (
    DEFAULT_AUDIENCE,
    MAXIMUM_FEDERATED_CREDENTIALS,
    FederatedCredential,
    ManagedIdentity,
    ResourceGroup,
    Subscription,
    Tenant,
)
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError

_FORGET = "DELETE FROM federated_credential WHERE client_id = ? AND name = ?"


class Inventory:
    """What `database` says there is; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self.clock = clock

    def tenant(self) -> Tenant:
        """Return the one tenant, made on first use."""
        return Tenant(*self._first_or_new("SELECT * FROM tenant", self._new_tenant))

    def subscription(self) -> Subscription:
        """Return the one subscription, made on first use."""
        self.tenant()
        return Subscription(*self._first_or_new("SELECT * FROM subscription", self._new_subscription))

    def _first_or_new(self, query: str, new: Callable[[], Row]) -> Row:
        row = self._database.row(query)
        if row is None:
            with self._database.transaction():
                row = self._database.row(query) or new()
        return row

    def _new_tenant(self, tenant_id: str | None = None) -> Row:
        row = (tenant_id or _guid(), "wisp local", int(self.clock()))
        self._database.rows("INSERT INTO tenant VALUES (?, ?, ?)", *row)
        return row

    def _new_subscription(self, subscription_id: str | None = None) -> Row:
        row = (subscription_id or _guid(), self.tenant().id, "wisp local")
        self._database.rows("INSERT INTO subscription VALUES (?, ?, ?)", *row)
        return row

    def put_resource_group(self, name: str, location: str, *, tags: Mapping[str, str] | None = None) -> ResourceGroup:
        """Make the group, or return the one of that name; raises `ConflictError` if that one is elsewhere.

        `tags` replace those it had; None leaves them.
        """
        names.check_group(name, location)
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
            raise NotFoundError(f"there is no resource group {name}", hint="make it first")
        return _group(row)

    def resource_groups(self) -> list[ResourceGroup]:
        """Return every group, by name."""
        return [_group(row) for row in self._database.rows("SELECT * FROM resource_group ORDER BY name")]

    def delete_resource_group(self, name: str) -> None:
        """Delete the group and all that is in it; nothing happens when there is none."""
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
        """Make the identity, or return the one of that resource id, which keeps its client and principal ids.

        `ids` are what those of a new one are to be, random where None; raises `ConflictError` if one is another's.
        `tags` replace those it had; None leaves them.
        """
        names.check_identity(name, location)
        tenant = self.tenant()
        with self._database.transaction():
            group = self.resource_group(group_name)
            client_id, principal_id = (each or _guid() for each in ids)
            new = (group.subscription_id, group.name, name, location, client_id, principal_id, tenant.id)
            statement = "INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, '{}') ON CONFLICT DO NOTHING"
            self._database.rows(statement, *new)
            self._must_be_there(group.name, name, new)
            identity = self.identity(group.name, name)
            _must_be_at(identity.location, location, f"identity {identity.name}")
            if tags is not None:
                statement = "UPDATE identity SET tags = ? WHERE client_id = ?"
                self._database.rows(statement, json.dumps(dict(tags)), identity.client_id)
            return self.identity(group.name, name)

    def _must_be_there(self, group: str, name: str, wanted: Row) -> None:
        """Raise for an identity that was not made, since one of its ids is another's."""
        query = "SELECT 1 FROM identity WHERE resource_group = ? AND name = ?"
        if self._database.row(query, group, name) is None:
            problem = f"client id {wanted[4]} or principal id {wanted[5]} is another identity's"
            raise ConflictError(problem, hint=f"give {name} ids of its own")

    def identity(self, group_name: str, name: str) -> ManagedIdentity:
        """Return the identity of that group and name; raises `NotFoundError`."""
        row = self._database.row("SELECT * FROM identity WHERE resource_group = ? AND name = ?", group_name, name)
        if row is None:
            raise NotFoundError(f"there is no identity {name} in resource group {group_name}", hint="make it first")
        return _identity(row)

    def identity_of_client(self, client_id: str) -> ManagedIdentity | None:
        """Return the identity whose client id this is."""
        row = self._database.row("SELECT * FROM identity WHERE client_id = ?", client_id.lower())
        return None if row is None else _identity(row)

    def identities(self) -> list[ManagedIdentity]:
        """Return every identity, by group and name."""
        rows = self._database.rows("SELECT * FROM identity ORDER BY resource_group, name")
        return [_identity(each) for each in rows]

    def delete_identity(self, identity: ManagedIdentity) -> None:
        """Delete the identity and its federated credentials; nothing happens when it is gone already."""
        with self._database.transaction():
            self._database.rows("DELETE FROM identity WHERE client_id = ?", identity.client_id)

    def put_federated_credential(
        self,
        identity: ManagedIdentity,
        name: str,
        *,
        issuer: str,
        subject: str,
        audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,),
    ) -> FederatedCredential:
        """Make or replace the credential called `name`.

        Raises `RequestError` for what Azure does not allow and for the twenty-first, `ConflictError` when another has
        the same issuer and subject, `NotFoundError` when the identity is gone.
        """
        credential = FederatedCredential(name, issuer, subject, tuple(audiences))
        self.put_federated_credentials(identity, [credential])
        return credential

    def put_federated_credentials(self, identity: ManagedIdentity, wanted: Sequence[FederatedCredential]) -> None:
        """Make or replace all of `wanted`, or none, raising as for one; those that are there already stay untouched."""
        for each in wanted:
            names.check_credential(each.name, each.issuer, each.subject, each.audiences)
        with self._database.transaction():
            self.identity(identity.resource_group, identity.name)
            there = {each.name.lower(): each for each in self.federated_credentials(identity)}
            new = [each for each in wanted if there.get(each.name.lower()) != each]
            final = {**there, **{each.name.lower(): each for each in new}}
            for each in new:
                must_fit(each, [other for other in final.values() if other is not each])
            owner = identity.client_id
            self._database.many(_FORGET, [(owner, each.name) for each in new])
            now = self.clock()
            rows = [(owner, each.name, each.issuer, each.subject, json.dumps(each.audiences), now) for each in new]
            self._database.many("INSERT INTO federated_credential VALUES (?, ?, ?, ?, ?, ?)", rows)

    def federated_credentials(self, identity: ManagedIdentity) -> list[FederatedCredential]:
        """Return the identity's federated credentials, by name."""
        query = "SELECT name, issuer, subject, audiences FROM federated_credential WHERE client_id = ? ORDER BY name"
        rows = self._database.rows(query, identity.client_id)
        return [FederatedCredential(row[0], row[1], row[2], _audiences(row[3])) for row in rows]

    def federated_since(self, identity: ManagedIdentity, since: float) -> set[str]:
        """Return the names of the federated credentials that were made or replaced after `since` (Unix seconds)."""
        query = "SELECT name FROM federated_credential WHERE client_id = ? AND created > ?"
        return {name for (name,) in self._database.rows(query, identity.client_id, since)}

    def delete_federated_credential(self, identity: ManagedIdentity, name: str) -> None:
        """Delete the credential called `name`; nothing happens when there is none."""
        with self._database.transaction():
            self._database.rows(_FORGET, identity.client_id, name)

    def settle_tenant(self, tenant_id: str | None, display_name: str | None) -> None:
        """Give the tenant this id and name, each if given; raises `ConflictError` when it has another id already."""
        self._settle("tenant", tenant_id, display_name, self._new_tenant)

    def settle_subscription(self, subscription_id: str | None, display_name: str | None) -> None:
        """Give the subscription this id and name, each if given; raises `ConflictError` when it has another id."""
        self.tenant()
        self._settle("subscription", subscription_id, display_name, self._new_subscription)

    def _settle(self, table: str, wanted: str | None, name: str | None, new: Callable[[str | None], Row]) -> None:
        with self._database.transaction():
            row = self._database.row(f"SELECT id FROM {table}") or new(wanted)  # noqa: S608 -- one of two names
            if wanted not in (None, row[0]):
                problem = f"the {table} of {self._database.path} is {row[0]}, not {wanted}"
                raise ConflictError(problem, hint="ids never change: name another state file")
            if name is not None:
                statement = f"UPDATE {table} SET display_name = ? WHERE display_name != ?"  # noqa: S608 -- likewise
                self._database.rows(statement, name, name)

    def put_resource(self, uri: str) -> None:
        """Register a resource of the tenant's own, which tokens can then be asked for."""
        if not names.is_resource(uri):
            raise RequestError(f"{uri!a:.80} cannot be a resource", hint="give a URI such as api://my-api, or a GUID")
        with self._database.transaction():
            self._database.rows("INSERT INTO resource VALUES (?) ON CONFLICT DO NOTHING", uri)

    def resources(self) -> list[str]:
        """Return the resources of the tenant's own."""
        return [uri for (uri,) in self._database.rows("SELECT uri FROM resource ORDER BY uri")]


@lru_cache(maxsize=64)
def _audiences(text: str) -> tuple[str, ...]:
    """Read a column; nearly all are alike, and reading twenty anew took a sixth of an exchange's time."""
    return tuple(json.loads(text))


def _guid() -> str:
    return str(uuid.uuid4())


def _must_be_at(there: str, wanted: str, what: str) -> None:
    if there.lower() != wanted.lower():
        raise ConflictError(f"{what} already exists in {there}", hint=f"use {there} or another name, not {wanted}")


def _group(row: Row) -> ResourceGroup:
    subscription_id, name, location, tags = row
    return ResourceGroup(subscription_id, name, location, json.loads(tags))


def _identity(row: Row) -> ManagedIdentity:
    return replace(ManagedIdentity(*row[:7]), tags=json.loads(row[7]))


def must_fit(credential: FederatedCredential, others: list[FederatedCredential]) -> None:
    """Raise when `credential` is the twenty-first beside `others`, or one of them has its issuer and subject."""
    if len(others) >= MAXIMUM_FEDERATED_CREDENTIALS:
        raise RequestError(
            f"the identity has {MAXIMUM_FEDERATED_CREDENTIALS} federated credentials, Azure's limit",
            hint="delete one, or use another identity",
        )
    for each in others:
        if (each.issuer, each.subject) == (credential.issuer, credential.subject):
            raise ConflictError(
                f"federated credential {each.name} already has this issuer and subject",
                hint="they are unique within an identity: change or delete that one",
            )
