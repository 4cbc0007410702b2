"""The managed clusters of the local Azure, what is behind them, and the operations that are under way.

A cluster whose deletion has ended is swept away by whoever looks next, and its issuer with it.
"""

import json
import uuid
from collections.abc import Callable, Mapping

from wisp_local.cloud.cluster import ANY, Activity, Backing, ManagedCluster
from wisp_local.cloud.database import Database, Row
from wisp_local.cloud.directory import ResourceGroup
from wisp_local.cloud.errors import NotFoundError, RequestError
from wisp_local.cloud.issuer import check_key_set
from wisp_local.cloud.keyring import Keyring
from wisp_local.cloud.names import check_cluster, is_issuer_url

_KEPT = 24 * 3600  # seconds that an operation can be asked for after its end


class Fleet:
    """What `database` says of clusters; `clock` gives Unix seconds, `keyring` has their issuers."""

    def __init__(self, database: Database, clock: Callable[[], float], keyring: Keyring) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring

    def begin(self, operation_id: str, ends: float) -> None:
        """Keep an operation that began now and ends at `ends` (Unix seconds)."""
        now = self._clock()
        with self._database.transaction():
            self._database.rows("DELETE FROM operation WHERE ends < ?", now - _KEPT)
            self._database.rows("INSERT INTO operation VALUES (?, ?, ?)", operation_id, now, ends)

    def operation(self, operation_id: str) -> tuple[float, float] | None:
        """Return when the operation began and ends."""
        self._sweep()
        row = self._database.row("SELECT started, ends FROM operation WHERE id = ?", operation_id)
        return None if row is None else (row[0], row[1])

    def clusters(self) -> list[ManagedCluster]:
        """Return every cluster, by group and name."""
        self._sweep()
        rows = self._database.rows("SELECT * FROM managed_cluster ORDER BY resource_group, name")
        return [_cluster(each) for each in rows]

    def cluster(self, group_name: str, name: str) -> ManagedCluster | None:
        """Return the cluster of that group and name."""
        self._sweep()
        query = "SELECT * FROM managed_cluster WHERE resource_group = ? AND name = ?"
        row = self._database.row(query, group_name, name)
        return None if row is None else _cluster(row)

    def create(
        self, group: ResourceGroup, name: str, location: str, asked: Mapping[str, object], *, until: float
    ) -> ManagedCluster:
        """Make the cluster, which is being created until `until`; the same of that name is returned as it is."""
        check_cluster(name)
        identifiers = [str(uuid.uuid4()) for _ in range(3)]
        row = (group.subscription_id, group.name, name, location, json.dumps(asked), "", *identifiers)
        with self._database.transaction():
            statement = "INSERT INTO managed_cluster VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            self._database.rows(statement, *row, Activity.CREATING.value, until)
        return self._existing(group.name, name)

    def change(
        self, cluster: ManagedCluster, activity: Activity, until: float, asked: Mapping[str, object]
    ) -> ManagedCluster:
        """Let the cluster do something until `until`, and be what is asked now."""
        with self._database.transaction():
            statement = "UPDATE managed_cluster SET activity = ?, until = ?, asked = ? WHERE principal_id = ?"
            self._database.rows(statement, activity.value, until, json.dumps(asked), cluster.principal_id)
        return self._existing(cluster.resource_group, cluster.name)

    def give_issuer(self, cluster: ManagedCluster) -> ManagedCluster:
        """Run an issuer for the cluster, called by its name, or by name and group if another cluster has that.

        An issuer of that name that belongs to no cluster becomes this one's.
        """
        if cluster.issuer:
            return cluster
        name = cluster.name
        taken = self._database.row("SELECT 1 FROM managed_cluster WHERE issuer = ? COLLATE NOCASE", name)
        if taken is not None:
            name = f"{cluster.name[:50]}-{cluster.principal_id[:8]}"
        self._keyring.put_issuer(name)
        with self._database.transaction():
            statement = "UPDATE managed_cluster SET issuer = ? WHERE principal_id = ?"
            self._database.rows(statement, name, cluster.principal_id)
        return self._existing(cluster.resource_group, cluster.name)

    def _existing(self, group_name: str, name: str) -> ManagedCluster:
        found = self.cluster(group_name, name)
        if found is None:
            raise NotFoundError(f"there is no cluster {name} in resource group {group_name}", hint="make it first")
        return found

    def delete_all(self, group: ResourceGroup) -> None:
        """Delete every cluster of the group at once."""
        for each in self.clusters():
            if each.resource_group.lower() == group.name.lower():
                self._remove(each)

    def _sweep(self) -> None:
        query = "SELECT * FROM managed_cluster WHERE activity = ? AND until <= ?"
        for row in self._database.rows(query, Activity.DELETING.value, self._clock()):
            self._remove(_cluster(row))

    def _remove(self, cluster: ManagedCluster) -> None:
        with self._database.transaction():
            self._database.rows("DELETE FROM managed_cluster WHERE principal_id = ?", cluster.principal_id)
        if cluster.issuer:
            self._keyring.delete(cluster.issuer)

    def back(self, backing: Backing) -> None:
        """Put an API server behind the cluster of that name, made or still to be made, instead of what was there."""
        _check(backing)
        row = (backing.cluster, backing.kubeconfig, backing.issuer_url, backing.key_set)
        with self._database.transaction():
            self._database.rows("INSERT OR REPLACE INTO backing VALUES (?, ?, ?, ?)", *row)

    def unback(self, cluster: str) -> None:
        """Take away what is behind the clusters of that name; nothing happens when there is nothing."""
        with self._database.transaction():
            self._database.rows("DELETE FROM backing WHERE cluster = ?", cluster)

    def backing(self, cluster: str) -> Backing | None:
        """Return what is behind the cluster of that name: its own, else that of every cluster without one."""
        for name in (cluster, ANY):
            row = self._database.row("SELECT * FROM backing WHERE cluster = ?", name)
            if row is not None:
                return Backing(*row)
        return None

    def given_keys(self, *, url: str = "", path: str = "", name: str = "") -> str | None:
        """Return the key set that was given for an issuer: by its whole URL, its path here, or its cluster's name."""
        for row in self._database.rows("SELECT * FROM backing WHERE key_set != ''"):
            each = Backing(*row)
            own = not each.issuer_url and each.cluster.lower() == name.lower()
            if (url and each.issuer_url == url) or (path and each.issuer_url.endswith(path)) or own:
                return each.key_set
        return None


def _check(backing: Backing) -> None:
    if backing.cluster != ANY:
        check_cluster(backing.cluster)
    elif backing.key_set and not backing.issuer_url:
        raise RequestError("keys for every cluster belong to one issuer", hint="give the issuer's URL, too")
    if backing.issuer_url and not is_issuer_url(backing.issuer_url):
        raise RequestError(f"the issuer {backing.issuer_url} is no https URL", hint="give one without a query")
    if backing.key_set:
        check_key_set(backing.key_set)


def _cluster(row: Row) -> ManagedCluster:
    subscription, group, name, location, asked, issuer, principal, client, kubelet, activity, until = row
    return ManagedCluster(
        subscription_id=subscription,
        resource_group=group,
        name=name,
        location=location,
        asked=json.loads(asked),
        issuer=issuer,
        principal_id=principal,
        kubelet_client_id=client,
        kubelet_object_id=kubelet,
        activity=Activity(activity),
        until=until,
    )
