"""Managed clusters, the API servers attached to them, and the operations in progress.

A cluster whose deletion has ended is removed by the next query. Its issuer is deleted with it, and so are the federated
credentials for that issuer that identity bindings created.
"""

import json
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple

from wisp_local.cloud.cluster import ANY, Activity, Attachment, ManagedCluster
from wisp_local.cloud.entra.directory import ResourceGroup
from wisp_local.cloud.errors import NotFoundError, RequestError
from wisp_local.cloud.issuer import check_key_set
from wisp_local.cloud.names import BINDING_CREDENTIAL, check_name, is_issuer_url
from wisp_local.cloud.state.database import Database, Row
from wisp_local.cloud.state.issuers import Issuers

_OPERATION_RETENTION = 24 * 3600  # seconds that an operation can be queried after its end


class Clusters:
    """The managed clusters in `database`; `clock` gives Unix seconds, `issuers` has their issuers."""

    def __init__(self, database: Database, clock: Callable[[], float], issuers: Issuers) -> None:
        self._database = database
        self._clock = clock
        self._issuers = issuers

    def begin_operation(self, operation_id: str, ends: float) -> None:
        """Store an operation that began now and ends at `ends` (Unix seconds)."""
        now = self._clock()
        with self._database.transaction():
            self._database.rows("DELETE FROM operation WHERE ends < ?", now - _OPERATION_RETENTION)
            self._database.rows("INSERT INTO operation VALUES (?, ?, ?)", operation_id, now, ends)

    def operation(self, operation_id: str) -> tuple[float, float] | None:
        """Return when the operation began and ends."""
        self._remove_deleted()
        row = self._database.row("SELECT started, ends FROM operation WHERE id = ?", operation_id)
        return None if row is None else (row[0], row[1])

    def all(self) -> list[ManagedCluster]:
        """Return every cluster, by group and name."""
        self._remove_deleted()
        rows = self._database.rows("SELECT * FROM managed_cluster ORDER BY resource_group, name")
        return [_cluster(row) for row in rows]

    def get(self, group_name: str, name: str) -> ManagedCluster | None:
        """Return the cluster of that group and name."""
        self._remove_deleted()
        query = "SELECT * FROM managed_cluster WHERE resource_group = ? AND name = ?"
        row = self._database.row(query, group_name, name)
        return None if row is None else _cluster(row)

    def create(
        self, group: ResourceGroup, name: str, location: str, requested: Mapping[str, object], *, until: float
    ) -> ManagedCluster:
        """Create the cluster, a process that ends at `until`; an existing one of that name is returned as it is."""
        check_name("cluster", name)
        identifiers = [str(uuid.uuid4()) for _ in range(3)]
        row = (group.subscription_id, group.name, name, location, json.dumps(requested), "", *identifiers)
        with self._database.transaction():
            statement = "INSERT INTO managed_cluster VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            self._database.rows(statement, *row, Activity.CREATING.value, until)
        return self._existing(group.name, name)

    def change(
        self, cluster: ManagedCluster, activity: Activity, until: float, requested: Mapping[str, object]
    ) -> ManagedCluster:
        """Set the cluster's properties, and what it is doing until `until`."""
        with self._database.transaction():
            statement = "UPDATE managed_cluster SET activity = ?, until = ?, requested = ? WHERE principal_id = ?"
            self._database.rows(statement, activity.value, until, json.dumps(requested), cluster.principal_id)
        return self._existing(cluster.resource_group, cluster.name)

    def ensure_issuer(self, cluster: ManagedCluster) -> ManagedCluster:
        """Run an issuer for the cluster, called by its name, or by name and id if another cluster has that name.

        An issuer of that name that belongs to no cluster becomes this one's.
        """
        if cluster.issuer:
            return cluster
        name = cluster.name
        taken = self._database.row("SELECT 1 FROM managed_cluster WHERE issuer = ? COLLATE NOCASE", name)
        if taken is not None:
            name = f"{cluster.name[:50]}-{cluster.principal_id[:8]}"
        self._issuers.put(name)
        with self._database.transaction():
            statement = "UPDATE managed_cluster SET issuer = ? WHERE principal_id = ?"
            self._database.rows(statement, name, cluster.principal_id)
        return self._existing(cluster.resource_group, cluster.name)

    def _existing(self, group_name: str, name: str) -> ManagedCluster:
        found = self.get(group_name, name)
        if found is None:
            raise NotFoundError(f"there is no cluster {name} in resource group {group_name}", hint="create it first")
        return found

    def delete_in_group(self, group: ResourceGroup) -> None:
        """Delete every cluster of the group at once."""
        for cluster in self.all():
            if cluster.resource_group.lower() == group.name.lower():
                self._remove(cluster.principal_id, cluster.issuer)

    def _remove_deleted(self) -> None:
        query = "SELECT principal_id, issuer FROM managed_cluster WHERE activity = ? AND until <= ?"
        for principal_id, issuer in self._database.rows(query, Activity.DELETING.value, self._clock()):
            self._remove(principal_id, issuer)

    def _remove(self, principal_id: str, issuer: str) -> None:
        with self._database.transaction():
            self._database.rows("DELETE FROM managed_cluster WHERE principal_id = ?", principal_id)
            if issuer:
                # Its issuer never exists again, so identity bindings of later clusters would not use it.
                url = "SELECT '*/oidc/' || id || '/' FROM issuer WHERE name = ?"
                statement = f"DELETE FROM federated_credential WHERE name GLOB ? AND issuer GLOB ({url})"  # noqa: S608
                self._database.rows(statement, f"{BINDING_CREDENTIAL}*", issuer)
                self._issuers.delete(issuer)

    def attach(self, attachment: Attachment) -> None:
        """Attach an API server to the cluster of that name, which may not exist yet, replacing an earlier one."""
        if attachment.cluster != ANY:
            check_name("cluster", attachment.cluster)
        elif attachment.key_set and not attachment.issuer_url:
            raise RequestError("keys for every cluster belong to one issuer", hint="give the issuer's URL, too")
        if attachment.issuer_url and not is_issuer_url(attachment.issuer_url):
            problem = f"the issuer {attachment.issuer_url} is not an https URL"
            raise RequestError(problem, hint="give an https URL without a query")
        if attachment.key_set:
            check_key_set(attachment.key_set)
        with self._database.transaction():
            self._database.rows("INSERT OR REPLACE INTO attachment VALUES (?, ?, ?, ?)", *astuple(attachment))

    def detach(self, cluster: str) -> None:
        """Detach the API server from the clusters of that name; nothing happens when none is attached."""
        with self._database.transaction():
            self._database.rows("DELETE FROM attachment WHERE cluster = ?", cluster)

    def attachment(self, cluster: str) -> Attachment | None:
        """Return what is attached to the cluster of that name: its own, else that of every cluster without one."""
        for name in (cluster, ANY):
            row = self._database.row("SELECT * FROM attachment WHERE cluster = ?", name)
            if row is not None:
                return Attachment(*row)
        return None

    def attachment_of_issuer(self, issuer_url: str, base_urls: Collection[str]) -> Attachment | None:
        """Return the attached API server whose service account tokens have this issuer.

        `base_urls` are this cloud's: the issuer may be one that it runs for the cluster.
        """
        base, _, path = issuer_url.partition("/oidc/")
        own = self._issuers.get(path.removesuffix("/")) if base in base_urls else None
        for row in self._database.rows("SELECT * FROM attachment"):
            attached = Attachment(*row)
            if attached.issuer_url:
                if attached.issuer_url == issuer_url:
                    return attached
            elif own is not None and attached.cluster.lower() == own.name.lower():
                return attached
        return None


def _cluster(row: Row) -> ManagedCluster:
    fields: Row = (*row[:4], json.loads(row[4]), *row[5:9], Activity(row[9]), row[10])
    return ManagedCluster(*fields)
