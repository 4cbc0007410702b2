"""The identity bindings of managed clusters; a cluster's are deleted with it.

A binding whose deletion has ended is removed by the next query.
"""

from collections.abc import Callable
from dataclasses import astuple

from wisp_local.cloud.cluster import Activity, IdentityBinding, ManagedCluster
from wisp_local.cloud.state.database import Database, Row

_OF_CLUSTER = "resource_group = ? AND cluster = ?"


class IdentityBindings:
    """The identity bindings in `database`; `clock` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def of(self, cluster: ManagedCluster) -> list[IdentityBinding]:
        """Return the bindings of the cluster, by name."""
        self._remove_deleted()
        query = f"SELECT * FROM identity_binding WHERE {_OF_CLUSTER} ORDER BY name"  # noqa: S608 -- a constant
        return [_binding(row) for row in self._database.rows(query, cluster.resource_group, cluster.name)]

    def get(self, cluster: ManagedCluster, name: str) -> IdentityBinding | None:
        """Return the cluster's binding of that name."""
        return next((binding for binding in self.of(cluster) if binding.name.lower() == name.lower()), None)

    def put(self, binding: IdentityBinding) -> None:
        """Create the binding, or replace the one of that name."""
        row = (*astuple(binding)[:-2], binding.activity.value, binding.until)
        with self._database.transaction():
            self._database.rows("INSERT OR REPLACE INTO identity_binding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)

    def _remove_deleted(self) -> None:
        query = "SELECT 1 FROM identity_binding WHERE activity = ? AND until <= ?"
        values = (Activity.DELETING.value, self._clock())
        if self._database.row(query, *values) is not None:
            with self._database.transaction():
                self._database.rows("DELETE FROM identity_binding WHERE activity = ? AND until <= ?", *values)


def _binding(row: Row) -> IdentityBinding:
    fields: Row = (*row[:8], Activity(row[8]), row[9])
    return IdentityBinding(*fields)
